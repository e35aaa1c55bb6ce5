"""What the limiter refuses to be set up with."""

from __future__ import annotations

import pytest
import redis

from aurora.resilience.ratelimit import Limiter, Policy


@pytest.mark.parametrize(
    ("name", "quota", "window"),
    [
        ('a"b', 1, 60),
        ("", 1, 60),
        ("General", 1, 60),
        ("a", 0, 60),
        ("a", 1, 0),
        ("a", 1, 86_401),
        ("a", 10**7, 60),
    ],
)
def test_a_policy_out_of_bounds_is_refused(name, quota, window):
    with pytest.raises(ValueError):
        Policy(name, quota, window)


def test_a_client_that_would_hold_a_request_is_refused(redis_url):
    with pytest.raises(ValueError, match="give up within"):
        Limiter(redis.Redis.from_url(redis_url))
    with pytest.raises(ValueError, match="must not retry"):
        Limiter(redis.Redis.from_url(redis_url, socket_timeout=0.05, socket_connect_timeout=0.05))
