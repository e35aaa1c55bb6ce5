"""API keys with networks and successors; the audit trail's chain, and a trigger: its rows can only be added, and sealed once."""

from django.db import migrations, models


FORWARD = """
CREATE FUNCTION aurora_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.number IS NULL AND NEW.number IS NOT NULL
        AND to_jsonb(NEW) - ARRAY['number', 'digest', 'sealed_at'] = to_jsonb(OLD) - ARRAY['number', 'digest', 'sealed_at']
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit entries are neither changed nor removed' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER aurora_audit_append_only BEFORE UPDATE OR DELETE ON aurora_auditentry
    FOR EACH ROW EXECUTE FUNCTION aurora_audit_append_only();
"""
BACKWARD = """
DROP TRIGGER aurora_audit_append_only ON aurora_auditentry;
DROP FUNCTION aurora_audit_append_only();
"""


def _on_postgresql(sql):
    def run(_apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql)

    return run


class Migration(migrations.Migration):

    dependencies = [
        ('aurora', '0002_wake_the_relay'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditHead',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.BigIntegerField(default=0)),
                ('digest', models.CharField(blank=True, max_length=64)),
                ('sealed_at', models.DateTimeField(null=True)),
                ('signature', models.CharField(blank=True, max_length=64)),
                ('checked_number', models.BigIntegerField(default=0, help_text='How far the check that is under way has come.')),
                ('checked_at', models.DateTimeField(null=True)),
                ('faults', models.JSONField(default=list, help_text='What the last check found wrong, in words.')),
            ],
        ),
        migrations.AddField(
            model_name='apikey',
            name='networks',
            field=models.JSONField(blank=True, default=list, help_text='Networks (CIDR) from where the key is good; none named: from everywhere.'),
        ),
        migrations.AddField(
            model_name='apikey',
            name='rotated_from',
            field=models.UUIDField(blank=True, editable=False, help_text='The key that this one follows.', null=True),
        ),
        migrations.AddField(
            model_name='auditentry',
            name='digest',
            field=models.CharField(blank=True, db_default='', editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name='auditentry',
            name='number',
            field=models.BigIntegerField(editable=False, help_text='Its place in the chain, from 1; empty until it is sealed.', null=True, unique=True),
        ),
        migrations.AddField(
            model_name='auditentry',
            name='sealed_at',
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="refreshtoken",
            name="password_mark",
            field=models.CharField(
                db_default="",
                help_text="Tells the password that the token was got by from a later one.",
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(condition=models.Q(('number', None)), fields=['id'], name='audit_unsealed'),
        ),
        migrations.RunPython(_on_postgresql(FORWARD), _on_postgresql(BACKWARD)),
    ]
