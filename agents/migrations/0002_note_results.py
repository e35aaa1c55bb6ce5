"""Steps remember that their result was taken in; of investigations that have ended, all were."""

from django.db import migrations, models


def _note_those_of_ended_investigations(apps, schema_editor):
    steps = apps.get_model('agents', 'InvestigationStep').objects.filter(finished_at__isnull=False)
    steps.filter(investigation__status__in=('completed', 'partial', 'failed')).update(noted_at=models.F('finished_at'))


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='investigationstep',
            name='noted_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='When its result was taken into the case and moved the rest on.', null=True),
        ),
        migrations.RunPython(_note_those_of_ended_investigations, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='investigationstep',
            index=models.Index(condition=models.Q(('noted_at__isnull', True)), fields=['status'], name='investigation_step_under_way'),
        ),
    ]
