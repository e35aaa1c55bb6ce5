"""IOCs as long as `cases.observables` takes them: long addresses were refused by the database, with an error nobody had foreseen."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("cases", "0001_initial")]

    operations = [
        migrations.AlterField(model_name="ioc", name="value", field=models.CharField(max_length=2048)),
    ]
