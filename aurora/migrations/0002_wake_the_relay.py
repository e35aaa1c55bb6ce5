"""A trigger rather than a call: no writer of the outbox can forget to wake the relay."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION aurora_outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('aurora_outbox', '');
    RETURN NULL;
END $$;
CREATE TRIGGER aurora_outbox_notify AFTER INSERT ON aurora_outboxevent
    FOR EACH STATEMENT EXECUTE FUNCTION aurora_outbox_notify();
"""
BACKWARD = """
DROP TRIGGER aurora_outbox_notify ON aurora_outboxevent;
DROP FUNCTION aurora_outbox_notify();
"""


def _on_postgresql(sql):
    def run(_apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(sql)

    return run


class Migration(migrations.Migration):
    dependencies = [("aurora", "0001_initial")]
    operations = [migrations.RunPython(_on_postgresql(FORWARD), _on_postgresql(BACKWARD))]
