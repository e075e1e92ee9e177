from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0010_vendor_calls_for_many'),
    ]

    operations = [
        migrations.CreateModel(
            name='DailyFigures',
            fields=[
                ('day', models.DateField(primary_key=True, serialize=False)),
                ('changes', models.JSONField(default=dict)),
                ('counted_at', models.DateTimeField(null=True)),
                ('running', models.PositiveIntegerField(help_text='Subscriptions that work: active or ending.', null=True)),
                ('seats', models.PositiveBigIntegerField(help_text='Of these.', null=True)),
                ('unpriced', models.PositiveIntegerField(help_text='Billed subscriptions that the price list forgot.', null=True)),
                ('revenue', models.JSONField(null=True)),
            ],
            options={
                'verbose_name_plural': 'daily figures',
                'ordering': ['-day'],
            },
        ),
    ]
