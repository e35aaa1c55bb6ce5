"""Workers and relays of the bus killed over events, as real processes. `make kill-workers` does it every second over ten thousand."""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest
from django.db import connection

from tests.faults import bus_fleet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("seed", [3, 11])
def test_workers_and_relays_killed_over_events_lose_and_double_none_and_keep_their_order(redis_client, seed):
    parameters = connection.get_connection_params()
    database = f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={quote(parameters['host'], safe='')}"
    result = bus_fleet.run(400, os.environ | {"DATABASE_URL": database}, kills=3, workers=2, relays=1, seed=seed)
    assert result.is_well, result
