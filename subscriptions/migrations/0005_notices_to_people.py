import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Staff are told, too, and they are no members; nothing has made a notice before this."""

    dependencies = [
        ('subscriptions', '0004_periods_and_ledger'),
    ]

    operations = [
        migrations.DeleteModel(name='Notice'),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=32)),
                ('sent_at', models.DateTimeField(null=True)),
                ('event', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='notices', to='subscriptions.event')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='notices', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['done', 'failed', 'approval', 'withdrawn', 'code', 'suspension', 'ending', 'ended', 'reminder', 'expired', 'trial', 'decide', 'attention'])), name='notice_kind_known'), models.UniqueConstraint(fields=('event', 'user'), name='one_notice_of_an_event_for_a_person')],
            },
        ),
    ]
