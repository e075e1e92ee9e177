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
                ('kind', models.CharField(choices=[('done', 'A change is done'), ('failed', 'A change was not done'), ('approval', 'A change waits for approval, is approved or rejected'), ('withdrawn', 'A change was withdrawn before it took effect'), ('code', 'An activation code is ready'), ('suspension', 'A subscription is suspended or active again'), ('reminder', 'A subscription renews soon'), ('ending', 'A subscription will end'), ('ended', 'A subscription has ended'), ('trial', 'A trial has ended'), ('expired', 'A subscription expired and can still be renewed'), ('decide', 'An order waits for your approval'), ('attention', 'An order needs attention')], max_length=32)),
                ('sent_at', models.DateTimeField(null=True)),
                ('event', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='notices', to='subscriptions.event')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='notices', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.UniqueConstraint(fields=('event', 'user'), name='one_notice_of_an_event_for_a_person')],
            },
        ),
    ]
