"""`/api/v1`: signing in, accounts, API keys, the system's own state."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from django.contrib.auth.models import User
from django.db.models.functions import Left, Length
from pydantic import Field, StringConstraints, field_validator
from rest_framework.request import Request
from rest_framework.response import Response

from aurora.errors import Missing
from aurora.identity import accounts, api_keys, credentials
from aurora.models import ApiKey, AuditEntry, DeadLetter
from aurora.observability import health
from aurora.rest import limits
from aurora.rest.answers import (
    AccountAnswer,
    ApiKeyAnswer,
    AuditAnswer,
    DeadLetterAnswer,
    MeAnswer,
    ModeAnswer,
    NewApiKeyAnswer,
    TokensAnswer,
)
from aurora.rest.auth import address_of
from aurora.rest.calls import Call
from aurora.rest.pagination import page_by_name, page_of
from aurora.rest.permissions import PUBLIC, SIGNED_IN
from aurora.rest.schemas import Body, Flag, Line, Moment, Page, PageQuery, Text, one_of
from aurora.rest.views import ApiView, uuid_of
from aurora.roles import ROLES

RoleWord = Annotated[str, one_of(tuple(ROLES))]
Username = Annotated[Text, StringConstraints(min_length=1, max_length=150, pattern=r"^[A-Za-z0-9_.@+-]+$")]
"""Plain letters: of two names that look alike to whoever reads them beside a change, one would be somebody else's."""
Networks = Annotated[list[Annotated[Text, Field(max_length=50, examples=["192.0.2.0/24"])]], Field(max_length=100)]
Password = Annotated[Text, Field(min_length=1, max_length=1024)]

LISTED_LENGTH = 2_000
"""Characters of a dead letter's payload in a list: it may be as large as a delivery."""


class SignInBody(Body):
    username: Annotated[Text, Field(max_length=150)]
    password: Password


class RefreshBody(Body):
    refresh_token: Annotated[Text, Field(max_length=512)]


class AccountBody(Body):
    username: Username
    password: Password
    role: RoleWord

    @field_validator("username")
    @classmethod
    def _has_an_address(cls, username: str) -> str:
        """Under `/users/me` is the caller, and dots are taken out of addresses on their way: such an account could not be changed any more."""
        if username in ("me", ".", ".."):
            raise ValueError("this name is taken by the API itself")
        return username


class AccountPatch(Body):
    password: Password | None = None
    role: RoleWord | None = None
    is_active: Flag | None = None


class ApiKeyBody(Body):
    name: Annotated[Line, Field(max_length=100)]
    role: RoleWord
    expires_at: Moment | None = Field(default=None, examples=["2099-12-31T00:00:00Z"])
    networks: Networks = []


class ApiKeyPatch(Body):
    networks: Networks


class RotationBody(Body):
    overlap_seconds: int = Field(86_400, ge=0, le=30 * 86_400)
    """For how long the old key is good beside the new one."""


class AuditQuery(PageQuery):
    actor: Text | None = Field(None, max_length=150)
    action: Text | None = Field(None, max_length=64)
    target_id: Text | None = Field(None, max_length=64)


class Token(ApiView):
    """Signing in with a name and a password."""

    permissions = {"POST": PUBLIC}
    limits = {"POST": ("login",)}
    calls = {"POST": Call(body=SignInBody, answers={200: TokensAnswer}, errors=(401,))}
    authentication_classes = ()

    def post(self, request: Request) -> Response:
        body = self.body(SignInBody)
        limits.require_room_for_name(request._request, body.username)
        return _tokens(
            credentials.sign_in(username=body.username, password=body.password, address=address_of(request._request))
        )


class Refresh(ApiView):
    """A fresh pair of tokens for a refresh token, which is used up."""

    permissions = {"POST": PUBLIC}
    limits = {"POST": ("login",)}
    calls = {"POST": Call(body=RefreshBody, answers={200: TokensAnswer}, errors=(401,))}
    authentication_classes = ()

    def post(self, request: Request) -> Response:
        token = self.body(RefreshBody).refresh_token
        return _tokens(credentials.refresh(refresh_token=token, address=address_of(request._request)))


class Logout(ApiView):
    """Ends a refresh token and its family."""

    permissions = {"POST": PUBLIC}
    calls = {"POST": Call(body=RefreshBody, answers={204: None})}
    authentication_classes = ()

    def post(self, request: Request) -> Response:
        token = self.body(RefreshBody).refresh_token
        credentials.sign_out(refresh_token=token, address=address_of(request._request))
        return Response(status=204)


class Me(ApiView):
    """The caller."""

    permissions = {"GET": SIGNED_IN}
    calls = {"GET": Call(answers={200: MeAnswer})}

    def get(self, request: Request) -> Response:
        actor = self.actor
        return Response({"username": actor.name, "role": actor.role, "permissions": sorted(actor.permissions)})


class Accounts(ApiView):
    """Accounts of people."""

    permissions = {"GET": "users:manage", "POST": "users:manage"}
    calls = {
        "GET": Call(query=PageQuery, answers={200: Page[AccountAnswer]}),
        "POST": Call(body=AccountBody, answers={201: AccountAnswer}, errors=(409,)),
    }

    def get(self, request: Request) -> Response:
        rows = User.objects.prefetch_related("groups")
        return Response(page_by_name(rows, self.query(PageQuery), accounts.account_data, name="username"))

    def post(self, request: Request) -> Response:
        body = self.body(AccountBody)
        return Response(
            accounts.account_data(accounts.create_account(**body.model_dump(), actor=self.actor)), status=201
        )


class AccountDetail(ApiView):
    """One account."""

    permissions = {"PATCH": "users:manage", "DELETE": "users:manage"}
    calls = {
        "PATCH": Call(body=AccountPatch, answers={200: AccountAnswer}, errors=(409,)),
        "DELETE": Call(answers={204: None}, errors=(409,)),
    }

    def patch(self, request: Request, username: str) -> Response:
        changes = self.body(AccountPatch).model_dump(exclude_none=True)
        return Response(
            accounts.account_data(accounts.edit_account(username=username, changes=changes, actor=self.actor))
        )

    def delete(self, request: Request, username: str) -> Response:
        accounts.delete_account(username=username, actor=self.actor)
        return Response(status=204)


class ApiKeys(ApiView):
    """Keys of programs; the secret is shown once, when the key is made."""

    permissions = {"GET": "users:manage", "POST": "users:manage"}
    calls = {
        "GET": Call(query=PageQuery, answers={200: Page[ApiKeyAnswer]}),
        "POST": Call(body=ApiKeyBody, answers={201: NewApiKeyAnswer}),
    }

    def get(self, request: Request) -> Response:
        return Response(page_of(ApiKey.objects.all(), self.query(PageQuery), _key_data))

    def post(self, request: Request) -> Response:
        row, key = api_keys.create(**self.body(ApiKeyBody).model_dump(), actor=self.actor)
        return _new_key(row, key)


class ApiKeyDetail(ApiView):
    """Where a key is good, and its end."""

    permissions = {"PATCH": "users:manage", "DELETE": "users:manage"}
    calls = {"PATCH": Call(body=ApiKeyPatch, answers={200: ApiKeyAnswer}), "DELETE": Call(answers={204: None})}

    def patch(self, request: Request, key_id: str) -> Response:
        networks = self.body(ApiKeyPatch).networks
        return Response(_key_data(api_keys.confine(key_id=uuid_of(key_id), networks=networks, actor=self.actor)))

    def delete(self, request: Request, key_id: str) -> Response:
        api_keys.revoke(key_id=uuid_of(key_id), actor=self.actor)
        return Response(status=204)


class ApiKeyRotation(ApiView):
    """A successor of a key, which itself stays good for a while."""

    permissions = {"POST": "users:manage"}
    calls = {"POST": Call(body=RotationBody, answers={201: NewApiKeyAnswer})}

    def post(self, request: Request, key_id: str) -> Response:
        overlap = timedelta(seconds=self.body(RotationBody).overlap_seconds)
        row, key = api_keys.rotate(key_id=uuid_of(key_id), overlap=overlap, actor=self.actor)
        return _new_key(row, key)


class Mode(ApiView):
    """What works and where reads come from."""

    permissions = {"GET": SIGNED_IN}
    calls = {"GET": Call(answers={200: ModeAnswer})}

    def get(self, request: Request) -> Response:
        return Response(health.mode())


class Audit(ApiView):
    """Who changed what."""

    permissions = {"GET": "audit:read"}
    calls = {"GET": Call(query=AuditQuery, answers={200: Page[AuditAnswer]})}

    def get(self, request: Request) -> Response:
        query = self.query(AuditQuery)
        given = query.model_dump(include={"actor", "action", "target_id"}, exclude_none=True)
        return Response(page_of(AuditEntry.objects.filter(**given), query, _audit_data))


class DeadLetters(ApiView):
    """Messages that no delivery could handle, each with the beginning of its payload."""

    permissions = {"GET": "agents:read"}
    calls = {"GET": Call(query=PageQuery, answers={200: Page[DeadLetterAnswer]})}

    def get(self, request: Request) -> Response:
        rows = DeadLetter.objects.annotate(beginning=Left("data", LISTED_LENGTH), data_length=Length("data")).defer(
            "data"
        )
        return Response(page_of(rows, self.query(PageQuery), lambda row: _dead_letter_data(row, row.beginning)))


class DeadLetterDetail(ApiView):
    """One message that no delivery could handle, whole."""

    permissions = {"GET": "agents:read"}
    calls = {"GET": Call(answers={200: DeadLetterAnswer})}

    def get(self, request: Request, dead_letter_id: str) -> Response:
        row = DeadLetter.objects.annotate(data_length=Length("data")).filter(pk=uuid_of(dead_letter_id)).first()
        if row is None:
            raise Missing
        return Response(_dead_letter_data(row, row.data))


def _tokens(signed_in: credentials.SignIn) -> Response:
    body = {
        "access_token": signed_in.access_token,
        "refresh_token": signed_in.refresh_token,
        "token_type": "bearer",
        "expires_in": signed_in.expires_in,
        "role": signed_in.role,
    }
    return Response(body, headers={"Cache-Control": "no-store"})


def _new_key(row: ApiKey, key: str) -> Response:
    return Response({"key": key, **_key_data(row)}, status=201, headers={"Cache-Control": "no-store"})


def _key_data(row: ApiKey) -> dict[str, Any]:
    names = ("id", "name", "prefix", "role", "networks", "created_by", "created_at", "expires_at", "revoked_at")
    return {name: getattr(row, name) for name in (*names, "last_used_at", "rotated_from")}


def _dead_letter_data(row: Any, data: str) -> dict[str, Any]:
    names = ("id", "stream", "group", "entry_id", "event_id", "type", "data_length", "traceparent", "error")
    return {name: getattr(row, name) for name in (*names, "deliveries", "created_at", "redriven_at")} | {"data": data}


def _audit_data(row: AuditEntry) -> dict[str, Any]:
    names = ("id", "at", "actor", "address", "action", "target_type", "target_id", "before", "after", "request_id")
    return {name: getattr(row, name) for name in (*names, "number", "digest")}
