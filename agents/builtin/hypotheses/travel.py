"""One account signed in from two places that nobody can be at in the time between.

Where a sign-in has no coordinates its country stands for it, and the distance of two countries is that of their nearest time zones' cities
(the `zone.tab` of the tz database): a lower bound, so a speed that is impossible by it is impossible.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

from agents.builtin.hypotheses.supposition import Hypothesis, hypothesis
from agents.builtin.pivoting import Web, bare_account
from agents.builtin.reputation import Term
from agents.builtin.scope import distinct
from agents.builtin.wording import duration, line, listed, many, moment
from cases.models import Alert
from cases.normalizers.fields import first, first_text, mapping, mappings, number, parsed

FASTEST = 900.0
"""Kilometres an hour: an airliner's cruise, door to door slower by far."""

_LEAST_KM = 500.0
_EARTH_KM = 6371.0
_MAX_FOUND = 3
_PLACES = ("sign_in.locations", "locations", "event.locations")
_PLACE = (
    "sign_in.location",
    "location",
    "properties.location",
    "source.geo",
    "client.geo",
    "client.geographicalContext",
    "geo",
    "data.GeoLocation",
)
_COUNTRY = ("country", "country_iso_code", "countryOrRegion", "countryCode", "CountryCode")
_CITY = ("city", "city_name", "City")
_LATITUDE = ("lat", "latitude", "location.lat", "geolocation.lat", "geoCoordinates.latitude", "Latitude")
_LONGITUDE = ("lon", "longitude", "location.lon", "geolocation.lon", "geoCoordinates.longitude", "Longitude")
_OUTCOME = ("sign_in.outcome", "outcome.result", "event.outcome", "status.errorCode")
_FAILED = frozenset({"denied", "failure", "failed", "deny"})
_ZONE = re.compile(r"^([A-Z]{2})\t([+-]\d{4,6})([+-]\d{5,7})\t", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in, or attempt, from a place: `points` are where it may have been, in degrees north and east."""

    alert: Alert
    at: datetime
    user: str
    place: str
    points: tuple[tuple[float, float], ...]
    is_success: bool


def impossible_travel(web: Web, raws: Mapping[Any, str]) -> Iterator[Hypothesis]:
    """For each account the first pair of sign-ins, in order of time, between which it would have been faster than an airliner."""
    by_user: defaultdict[str, list[SignIn]] = defaultdict(list)
    for one in sign_ins(web, raws):
        by_user[one.user].append(one)
    found = 0
    for user, own in by_user.items():
        pair = _impossible(own)
        if pair and found < _MAX_FOUND:
            found += 1
            yield _travelled(web, user, *pair, own)


def sign_ins(web: Web, raws: Mapping[Any, str]) -> list[SignIn]:
    """In order of time. A record that names several places names them as of one moment: its sensor saw them together."""
    found = []
    for alert in web.alerts:
        data = mapping(parsed(raws.get(alert.pk, "")))
        users = distinct(map(bare_account, web.users(alert)))
        places = next((rows for path in _PLACES if (rows := list(mappings(first(data, path))))), None)
        places = places or [mapping(first(data, *_PLACE))]
        is_success = first_text(data, *_OUTCOME).lower() not in _FAILED
        for place in places[:10] if users else ():
            points = _points(place)
            if points:
                named = ", ".join(
                    filter(None, (first_text(place, *_CITY, limit=60), first_text(place, *_COUNTRY, limit=60)))
                )
                found.append(
                    SignIn(alert, alert.first_seen, users[0], named or "a place without a name", points, is_success)
                )
    return found


def kilometres(here: Sequence[tuple[float, float]], there: Sequence[tuple[float, float]]) -> float:
    """The least great-circle distance of two sets of points."""
    return min(_haversine(a, b) for a in here for b in there)


def _impossible(own: Sequence[SignIn]) -> tuple[SignIn, SignIn, float] | None:
    """What one record says by itself goes before what two records say together."""
    pairs = sorted(pairwise(own), key=lambda pair: pair[0].alert.id != pair[1].alert.id)
    for earlier, later in pairs:
        distance = kilometres(earlier.points, later.points)
        hours = (later.at - earlier.at).total_seconds() / 3600
        if distance >= _LEAST_KM and distance > FASTEST * hours:
            return earlier, later, distance
    return None


def _travelled(
    web: Web, user: str, earlier: SignIn, later: SignIn, distance: float, own: Sequence[SignIn]
) -> Hypothesis:
    seconds = (later.at - earlier.at).total_seconds()
    near = [one.alert for one in own if kilometres(one.points, later.points) < _LEAST_KM]
    alerts = list({alert.id: alert for alert in (earlier.alert, later.alert, *near)}.values())
    how = f"{duration(seconds)} apart" if seconds else "named together by one sensor"
    speed = f", {distance / (seconds / 3600):,.0f} km/h" if seconds else ""
    return hypothesis(
        "impossible_travel",
        web,
        alerts,
        title=f"{line(user, 60)} signed in from {line(earlier.place, 60)} and {line(later.place, 60)}",
        detail=(
            f"{line(user, 60)}: {line(earlier.place, 60)} at {moment(earlier.at)} and {line(later.place, 60)} at {moment(later.at)}, "
            f"{how}, at least {distance:,.0f} km{speed}; an airliner makes {FASTEST:.0f} km/h."
        ),
        terms=list(_terms(web, later, distance, near)),
        hosts=[],
        users=[user],
        iocs=distinct(ioc.value for alert in alerts for ioc in web.scope.of(alert).iocs),
        actions=[f"End all sessions of {line(user, 60)} and ask, by another way than mail, where they are"],
    )


def _terms(web: Web, later: SignIn, distance: float, near: Sequence[Alert]) -> Iterator[Term]:
    yield Term(45, f"{distance:,.0f} km in a time in which nobody travels so far")
    if later.is_success:
        yield Term(15, "the sign-in from there succeeded")
    if len(near) > 1:
        yield Term(8, f"{many(len(near), 'alert')} from the same far place")
    techniques = [
        name
        for alert in near
        for name in web.scope.of(alert).techniques
        if name.startswith(("T1078", "T1621", "T1110"))
    ]
    if techniques:
        yield Term(15, f"a sensor names {listed(distinct(techniques))}")


def _points(place: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    latitude, longitude = number(first(dict(place), *_LATITUDE)), number(first(dict(place), *_LONGITUDE))
    if latitude is not None and longitude is not None and abs(latitude) <= 90 and abs(longitude) <= 180:
        return ((latitude, longitude),)
    return _countries().get(first_text(dict(place), *_COUNTRY, limit=2).upper(), ())


@cache
def _countries() -> dict[str, tuple[tuple[float, float], ...]]:
    """The cities of each country's time zones, by its ISO 3166 code."""
    table = resources.files("tzdata").joinpath("zoneinfo/zone.tab").read_text("utf-8")
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for country, latitude, longitude in _ZONE.findall(table):
        found[country].append((_degrees(latitude, 2), _degrees(longitude, 3)))
    return {country: tuple(points) for country, points in found.items()}


def _degrees(text: str, digits: int) -> float:
    """`+5222` and `-0742023`: sign, degrees, minutes, perhaps seconds (ISO 6709)."""
    number_of = text[1:]
    degrees, minutes, seconds = number_of[:digits], number_of[digits : digits + 2], number_of[digits + 2 :] or "0"
    value = int(degrees) + int(minutes) / 60 + int(seconds) / 3600
    return -value if text[0] == "-" else value


def _haversine(here: tuple[float, float], there: tuple[float, float]) -> float:
    (a, b), (c, d) = (map(math.radians, here), map(math.radians, there))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
