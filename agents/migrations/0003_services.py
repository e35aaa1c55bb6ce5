"""Agents have services with a bearer; steps that failed while an agent was down are done when it is back."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0002_note_results'),
    ]

    operations = [
        migrations.AddField(
            model_name='agent',
            name='sealed_bearer',
            field=models.TextField(blank=True, editable=False, help_text='What its service asks for, encrypted; never shown again.'),
        ),
        migrations.AddField(
            model_name='agent',
            name='longest_reset',
            field=models.FloatField(blank=True, help_text='Seconds up to which each failed probe doubles the open time; empty: it does not grow.', null=True, validators=[django.core.validators.MinValueValidator(0.1), django.core.validators.MaxValueValidator(86400)]),
        ),
        migrations.AddField(
            model_name='investigationstep',
            name='is_owed',
            field=models.BooleanField(default=False, help_text='It failed because its agent was down, and is done when that is back.'),
        ),
        migrations.AddField(
            model_name='investigationstep',
            name='resumptions',
            field=models.PositiveSmallIntegerField(default=0, help_text='How often it was begun again for that.'),
        ),
        migrations.AlterField(
            model_name='agent',
            name='endpoint',
            field=models.URLField(blank=True, help_text="The agent's address when its transport is A2A.", max_length=500),
        ),
        migrations.AlterField(
            model_name='investigationevent',
            name='kind',
            field=models.CharField(choices=[('planned', 'Planned'), ('step_started', 'Step Started'), ('thought', 'Thought'), ('finding', 'Finding'), ('step_completed', 'Step Completed'), ('step_failed', 'Step Failed'), ('concluded', 'Concluded'), ('resumed', 'Resumed')], max_length=16),
        ),
        migrations.AddIndex(
            model_name='investigationstep',
            index=models.Index(condition=models.Q(('is_owed', True)), fields=['agent_type'], name='investigation_step_owed'),
        ),
    ]
