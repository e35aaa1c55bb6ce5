# mypy: disable-error-code="no-untyped-call"
"""Who is let in, who is refused with which code, and how tickets work."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import Group, User
from django.test import Client

from aurora.actors import Actor
from aurora.bus import control, streams
from aurora.errors import Conflict, Denied, Invalid, Missing, Unavailable
from aurora.identity import accounts, api_keys, credentials
from aurora.resilience.ratelimit import Policy
from aurora.rest import limits
from realtime import auth, broadcaster, consumers, tickets
from realtime.consumers import close_code
from realtime.routing import _without_secrets, application
from tests.cast import ADMIN, ANALYST, SENSOR
from tests.realtime.conftest import Socket, alerts, path, publish
from tests.waiting import until

OWN = [(b"host", b"127.0.0.1:8000"), (b"origin", b"http://127.0.0.1:8000")]


async def code_of(socket: Socket) -> int:
    """The close code of a refused socket: it is accepted first, so that a browser sees the code."""
    assert (await socket.connect(timeout=30))[0]
    code = await socket.close_code()
    await socket.wait(timeout=30)
    return code


async def is_let_in(headers=(), **query: str) -> bool:
    socket = Socket(application, path("alerts", **query), headers=list(headers))
    await socket.connect(timeout=30)
    first = await socket.receive_output(timeout=30)
    if first["type"] == "websocket.send":
        await socket.disconnect(timeout=30)
    return bool(first["type"] == "websocket.send")


@pytest.fixture
def account(transactional_db) -> User:
    user = User.objects.create_user("ana", password="a long enough passphrase", is_staff=True)
    user.groups.add(Group.objects.get_or_create(name="analyst")[0])
    return user


@pytest.fixture
def cookie(account, client: Client) -> tuple[bytes, bytes]:
    client.force_login(account)
    return b"cookie", f"aurora_session={client.cookies['aurora_session'].value}".encode()


@pytest.fixture
def token(account) -> str:
    return credentials.sign_in(username="ana", password="a long enough passphrase").access_token


async def test_a_ticket_opens_one_socket_and_only_one(redis_client):
    ticket = tickets.issue(actor=ANALYST)
    assert await is_let_in(ticket=ticket)
    assert await code_of(Socket(application, path(ticket=ticket))) == 4401


def test_a_ticket_lives_thirty_seconds_and_is_not_kept_in_clear(redis_client):
    ticket = tickets.issue(actor=ANALYST)
    (key,) = redis_client.keys("aurora:ws:ticket:*")
    assert 0 < redis_client.ttl(key) <= 30
    assert ticket.encode() not in key


def test_a_ticket_holds_its_whole_actor(redis_client):
    actor = Actor(name="ana", role="analyst", address="10.0.0.1", user_id=7)
    assert tickets.redeem(ticket=tickets.issue(actor=actor, expires_at=5.0)) == tickets.Pass(actor, 5.0)


@pytest.mark.parametrize("ticket", ["", "nonsense", "\ud800", "x" * 10_000])
def test_an_unknown_ticket_is_refused(redis_client, ticket):
    with pytest.raises(Denied):
        tickets.redeem(ticket=ticket)


def test_a_ticket_without_redis_is_unavailable(settings):
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    with pytest.raises(Unavailable):
        tickets.issue(actor=ANALYST)
    with pytest.raises(Unavailable):
        tickets.redeem(ticket="x")


async def test_a_caller_without_the_permission_is_refused_by_name(redis_client):
    socket = Socket(application, path(ticket=tickets.issue(actor=SENSOR)))
    assert (await socket.connect())[0]
    assert await socket.receive_output() == {
        "type": "websocket.close",
        "code": 4403,
        "reason": "Permission required: ws:alerts",
    }


@pytest.mark.django_db(transaction=True)
async def test_a_socket_without_a_credential_is_refused():
    assert await code_of(Socket(application, path())) == 4401


async def test_a_bearer_header_and_a_token_in_the_query_open_a_socket(token, redis_client):
    assert await is_let_in([(b"authorization", f"Bearer {token}".encode())])
    assert await is_let_in(token=token)


async def test_an_api_key_opens_a_socket_if_its_role_may(account, redis_client):
    key = await _thread(api_keys.create, name="soar", role="analyst", expires_at=None, actor=ADMIN)
    assert await is_let_in([(b"x-api-key", key[1].encode())])
    assert await code_of(Socket(application, path(), headers=[(b"x-api-key", b"aurora_key_wrong")])) == 4401


async def test_a_bad_credential_is_not_made_good_by_a_cookie(cookie, redis_client):
    headers = [*OWN, cookie, (b"authorization", b"Bearer forged")]
    assert await code_of(Socket(application, path(), headers=headers)) == 4401


async def test_a_session_cookie_opens_a_socket_of_our_own_pages(cookie, redis_client):
    assert await is_let_in([*OWN, cookie])


@pytest.mark.parametrize(
    "origin",
    [b"http://evil.example", b"null", b"", b"http://127.0.0.1:8001", b"http://127.0.0.1", b"http://127.0.0.1:8000@evil.example",
     b"http://127.0.0.1:8000/", b"file://", b"http://[", b"http://127.0.0.1:8000,http://127.0.0.1:8000", b"ftp://127.0.0.1:8000", None],
)  # fmt: skip
async def test_a_session_cookie_with_another_origin_is_refused(cookie, redis_client, origin):
    headers = [OWN[0], cookie] + ([(b"origin", origin)] if origin is not None else [])
    assert await code_of(Socket(application, path(), headers=headers)) == 4403


async def test_a_token_for_a_host_that_is_not_ours_is_refused(token, redis_client):
    bearer = (b"authorization", f"Bearer {token}".encode())
    assert await code_of(Socket(application, path(), headers=[(b"host", b"rebound.example"), bearer])) == 4403
    assert await is_let_in([(b"host", b"localhost"), bearer])


async def test_a_session_cookie_for_a_host_that_is_not_ours_is_refused(cookie, redis_client):
    headers = [(b"host", b"rebound.example"), (b"origin", b"http://rebound.example"), cookie]
    assert await code_of(Socket(application, path(), headers=headers)) == 4403


async def test_a_page_behind_a_proxy_that_ends_tls_is_our_own(cookie, redis_client):
    assert await is_let_in([(b"host", b"localhost"), (b"origin", b"https://localhost"), cookie])


async def test_a_page_without_tls_gets_no_socket_with_tls(cookie, redis_client):
    socket = Socket(
        application, path(), headers=[(b"host", b"localhost:8000"), (b"origin", b"http://localhost:8000"), cookie]
    )
    socket.scope["scheme"] = "wss"
    assert await code_of(socket) == 4403


@pytest.mark.parametrize(
    "value",
    [b'aurora_session="abcdefgh\\000"', b"aurora_session=unknownunknownunknown", b"aurora_session=", b"\xff=\xff"],
)
async def test_a_cookie_that_is_no_session_is_refused(account, redis_client, value):
    assert await code_of(Socket(application, path(), headers=[*OWN, (b"cookie", value)])) == 4401


async def test_a_user_who_was_switched_off_is_refused(account, cookie, redis_client):
    await _thread(User.objects.filter(pk=account.pk).update, is_active=False)
    assert await code_of(Socket(application, path(), headers=[*OWN, cookie])) == 4401


async def test_a_socket_ends_with_its_token(redis_client):
    socket = Socket(application, path(ticket=tickets.issue(actor=ANALYST, expires_at=time.time() + 0.2)))
    await socket.connect()
    assert await socket.close_code() == 4401
    await socket.wait(timeout=30)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"role": "api_service"}, 4403), ({"is_active": False}, 4401), ({"password": "another-long-9z"}, 4401)],
)
async def test_a_socket_does_not_outlive_its_accounts_right_to_it_for_long(
    token, redis_client, monkeypatch, change, code
):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.05)
    socket = Socket(application, path(token=token))
    await socket.connect()
    await _thread(accounts.edit_account, username="ana", changes=change, actor=ADMIN)
    assert await socket.close_code() == code
    await socket.wait(timeout=5)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"role": "api_service"}, 4403),
        ({"is_active": False}, 4401),
        ({"password": "another-long-9z"}, 4401),
        (None, 4401),
    ],
    ids=["role", "switched off", "password", "removed"],
)
async def test_a_socket_ends_as_soon_as_its_account_loses_the_right_to_it(token, redis_client, hearing, change, code):
    """Long before anybody would ask again: the word comes through Redis, from whichever process changed the account."""
    socket = Socket(application, path(token=token))
    await socket.connect()
    await hearing()
    if change is None:
        await _thread(accounts.delete_account, username="ana", actor=ADMIN)
    else:
        await _thread(accounts.edit_account, username="ana", changes=change, actor=ADMIN)
    assert await socket.close_code() == code
    await socket.wait(timeout=5)


async def test_a_socket_ends_as_soon_as_its_key_is_revoked(account, redis_client, hearing):
    row, key = await _thread(api_keys.create, name="soar", role="analyst", expires_at=None, actor=ADMIN)
    socket = Socket(application, path(), headers=[(b"x-api-key", key.encode())])
    await socket.connect()
    await hearing()
    await _thread(api_keys.revoke, key_id=row.id, actor=ADMIN)
    assert await socket.close_code() == 4401
    await socket.wait(timeout=5)


async def test_a_socket_ends_as_soon_as_its_user_signs_out_of_the_console(
    client, account, cookie, redis_client, hearing
):
    socket = Socket(application, path(), headers=[*OWN, cookie])
    await socket.connect()
    await hearing()
    await _thread(partial(client.post, "/admin/logout/"))
    assert await socket.close_code() == 4401
    await socket.wait(timeout=5)


async def test_a_narrower_role_narrows_what_an_open_socket_shows(token, redis_client, hearing):
    socket = Socket(application, path("system", token=token))
    await socket.connect()
    await socket.frame()
    await hearing()
    await _thread(accounts.edit_account, username="ana", changes={"role": "operator"}, actor=ADMIN)
    [watching] = _clients("system")
    await asyncio.to_thread(until, lambda: "approval.requested" not in watching.types)
    publish(redis_client, streams.SYSTEM, "approval.requested")
    publish(redis_client, streams.SYSTEM, "breaker.changed")
    assert (await socket.frame())["type"] == "breaker.changed"
    await socket.disconnect(timeout=30)


async def test_others_are_left_in_peace_when_somebody_loses_a_right(opened, redis_client, hearing):
    socket = await opened(actor=Actor(name="bo", role="analyst", user_id=7))
    await socket.frame()
    await hearing()
    await _thread(partial(control._tell, {"type": "control", "about": control.RIGHTS, "user_id": 8, "key_id": None}))
    await _thread(partial(control.show, "mode.changed", {}))
    alerts(redis_client, range(1))
    assert (await socket.frame())["type"] == "alert.created"


async def test_what_cannot_go_by_the_outbox_is_shown_all_the_same(opened, redis_client, hearing):
    socket = await opened("system")
    hello = await socket.frame()
    await hearing()
    await _thread(partial(control.show, "breaker.changed", {"name": "triage", "after": "open"}))
    frame = await socket.frame()
    assert (frame["type"], frame["data"]["name"], frame["id"]) == ("breaker.changed", "triage", hello["id"])


async def test_a_word_that_nobody_understands_silences_nobody(opened, redis_client, hearing):
    socket = await opened("system")
    await socket.frame()
    await hearing()
    await _thread(partial(control._tell, {"type": "control", "about": "frame"}))
    await _thread(partial(control.show, "mode.changed", {"n": 1}))
    assert (await socket.frame())["data"] == {"n": 1}


async def test_what_is_no_word_at_all_silences_nobody(opened, redis_client, hearing, group_channel):
    socket = await opened("system")
    await socket.frame()
    await hearing()
    redis_client.publish(group_channel, b"\x93\x01\x02\x03")  # a list
    redis_client.publish(group_channel, b"\xc1")  # nothing that msgpack knows
    await asyncio.to_thread(until, lambda: not redis_client.pubsub_numsub(group_channel)[0][1])
    await hearing()
    await _thread(partial(control.show, "mode.changed", {"n": 1}))
    assert (await socket.frame())["data"] == {"n": 1}


def test_a_word_costs_a_caller_little_while_redis_is_away(settings, caplog):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": "unix:///nowhere/redis.sock"}]},
        }
    }
    control.show("mode.changed", {})
    assert [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)] == ["control_not_told"]


@pytest.fixture
def group_channel(settings) -> str:
    return f"{settings.CHANNEL_LAYERS['default']['CONFIG']['prefix']}__group__control"


@pytest.fixture
def hearing(redis_client, group_channel):
    """Waits until this process has subscribed to what others say."""

    async def subscribed() -> None:
        await asyncio.to_thread(until, lambda: redis_client.pubsub_numsub(group_channel)[0][1])

    return subscribed


def _clients(channel: str):
    return list(broadcaster.current()._feeds[channel].clients)


async def test_nor_its_keys_even_if_a_ticket_opened_it(account, redis_client, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.05)
    row, key = await _thread(api_keys.create, name="soar", role="analyst", expires_at=None, actor=ADMIN)
    ticket = tickets.issue(actor=await _thread(partial(api_keys.actor_of, key)))
    sockets = [
        Socket(application, path(), headers=[(b"x-api-key", key.encode())]),
        Socket(application, path(ticket=ticket)),
    ]
    for socket in sockets:
        await socket.connect()
    await _thread(api_keys.revoke, key_id=row.id, actor=ADMIN)
    assert [await socket.close_code() for socket in sockets] == [4401, 4401]
    for socket in sockets:
        await socket.wait(timeout=5)


async def test_a_socket_whose_right_lasts_is_left_in_peace(token, redis_client, monkeypatch):
    looked = asyncio.Event()
    checked = auth.authenticate

    async def telling(scope, query, *, earlier=None):
        caller = await checked(scope, query, earlier=earlier)
        if earlier is not None and earlier.expires_at == caller.expires_at:
            looked.set()
        return caller

    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.01)
    monkeypatch.setattr(consumers, "authenticate", telling)
    socket = Socket(application, path(token=token))
    await socket.connect()
    assert (await socket.receive_output())["type"] == "websocket.send"
    async with asyncio.timeout(10):
        await looked.wait()
    await socket.disconnect(timeout=5)


async def test_a_full_channel_says_so_and_a_place_that_is_left_can_be_taken(opened, settings, redis_client):
    settings.WS_MAX_CONNECTIONS = 2
    first = await opened()
    await opened()
    refused = Socket(application, path(ticket=tickets.issue(actor=ANALYST)))
    await refused.connect()
    assert await refused.receive_output() == {
        "type": "websocket.close",
        "code": 1013,
        "reason": "Max connections reached",
    }
    await opened("system")
    await first.disconnect(timeout=30)
    assert (await (await opened()).frame())["type"] == "hello"


async def test_an_unknown_path_is_closed_cleanly():
    assert await code_of(Socket(application, "/api/v1/ws/nothing")) == 4404
    assert await code_of(Socket(application, "/")) == 4404


async def test_a_query_with_too_many_fields_is_refused():
    assert await code_of(Socket(application, path(**{f"f{number}": "1" for number in range(50)}))) == 1008


async def test_a_small_object_that_a_client_says_is_ignored(opened, redis_client):
    socket = await opened()
    await socket.frame()
    await socket.send_to(text_data='{"type": "ping"}')
    alerts(redis_client, range(1))
    assert (await socket.frame())["type"] == "alert.created"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"text_data": "x" * 4_097}, 1009),
        ({"text_data": "é" * 2_049}, 1009),
        ({"bytes_data": b"\x00"}, 1008),
        ({"bytes_data": b"x" * 5_000}, 1009),
        ({"text_data": "{" * 4_096}, 1008),
        ({"text_data": "GET / HTTP/1.1"}, 1008),
        ({"text_data": "[1]"}, 1008),
    ],
    ids=["long", "long in UTF-8", "binary", "long binary", "half an object", "no JSON", "no object"],
)
async def test_inbound_garbage_closes_the_socket(opened, redis_client, frame, code):
    socket = await opened()
    await socket.send_to(**frame)
    assert await socket.close_code() == code
    await socket.wait(timeout=30)


async def test_a_client_that_never_stops_talking_is_closed(opened, redis_client, monkeypatch):
    monkeypatch.setattr(consumers, "INBOUND_FRAMES", 3)
    socket = await opened()
    for _ in range(4):
        await socket.send_to(text_data="{}")
    assert await socket.close_code() == 1008
    await socket.wait(timeout=30)


async def test_a_flood_of_connects_from_one_address_is_refused_and_others_come_in(redis_client, monkeypatch):
    monkeypatch.setattr(limits, "_policy", lambda name: Policy(name, 2, 60))

    async def comes_in(address: str) -> bool:
        socket = Socket(application, path(ticket=tickets.issue(actor=ANALYST)))
        socket.scope["client"] = (address, 1)
        await socket.connect(timeout=30)
        first = await socket.receive_output(timeout=30)
        if is_in := first["type"] == "websocket.send":
            await socket.disconnect(timeout=30)
        else:
            assert first["code"] == 1013
        return bool(is_in)

    assert [await comes_in("203.0.113.1") for _ in range(3)] == [True, True, False]
    assert await comes_in("203.0.113.2")


@pytest.mark.django_db(transaction=True)
async def test_tokens_are_not_guessed_at_sockets_without_end_and_a_good_one_comes_in(redis_client, monkeypatch, token):
    monkeypatch.setattr(limits, "_limiter", None)
    monkeypatch.setattr(limits, "_policy", lambda name: Policy(name, 2 if name == "credentials" else 100, 60))
    guess = [(b"authorization", b"Bearer a.b.c")]
    guesses = [await code_of(Socket(application, path("alerts"), headers=guess)) for _ in range(3)]
    assert guesses == [4401, 4401, 1013]
    assert await is_let_in([(b"authorization", f"Bearer {token}".encode())])


def test_the_secrets_of_a_query_do_not_stay_in_the_scope():
    assert (
        _without_secrets(b"ticket=s3cret&token=s3cret&last_event_id=1-0") == b"ticket=***&token=***&last_event_id=1-0"
    )
    assert _without_secrets(b"%74oken=s3cret") == b"token=***"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Denied(is_anonymous=True), 4401),
        (Denied(), 4403),
        (Missing(), 4404),
        (Unavailable(), 1013),
        (Invalid(), 1008),
        (Conflict(), 1008),
    ],
)
def test_every_kind_of_error_has_a_close_code(error, code):
    assert close_code(error) == code


async def _thread(function, **arguments):
    return await database_sync_to_async(function, thread_sensitive=False)(**arguments)
