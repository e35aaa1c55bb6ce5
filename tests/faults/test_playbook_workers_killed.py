"""Workers of playbooks killed over runs, as real processes. `make kill-playbooks` does it fifty times over a hundred runs."""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest
from django.db import connection

from tests.faults import playbook_fleet

pytestmark = pytest.mark.django_db(transaction=True)


def test_workers_killed_over_runs_leave_none_stuck_and_skip_and_double_nothing(redis_client):
    parameters = connection.get_connection_params()
    database = f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={quote(parameters['host'], safe='')}"
    result = playbook_fleet.run(4, 1, os.environ | {"DATABASE_URL": database})
    assert (result.stuck, result.skipped, result.strange) == (0, 0, 0), result
