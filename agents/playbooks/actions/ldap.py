"""Accounts of a directory, Active Directory or any other that speaks LDAP: `disable_user` disables them, its undo enables what it disabled.

How an account is disabled depends on the directory (`scheme`):

- `active_directory`: the bit ACCOUNTDISABLE (0x2) of `userAccountControl` ([MS-ADTS] 2.2.16). Other bits stay as they are, also those that somebody else
  changes at the same moment: old value and new are exchanged in one modification, which the directory refuses when the old one is gone.
- `openldap`: the password policy overlay's `pwdAccountLockedTime: 000001010000Z`, a lock without an end (draft-behera-ldap-password-policy 5.3.3). The
  policy that the account is under needs `pwdLockout: TRUE`, or the overlay does not look.
- `attribute`: an attribute that the operator names, and the value that means disabled, such as `nsAccountLock: true` (389 Directory Server, FreeIPA).

Nobody who is signed in already is signed out: a directory knows nothing of Kerberos tickets, tokens and sessions.

LDAP has no keys and an order to undo brings no result along, so how an account stood is kept as a row of ours before it is changed, under the step's key.
A worker that is killed in between, or an answer that is lost, leaves the row: the next attempt finds the account disabled and still knows that it was not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from django.utils import timezone
from pydantic import Field, StringConstraints, field_validator, model_validator

from agents.playbooks.actions import http
from agents.playbooks.actions.contract import ConnectorSettings, Order, Pem, Wired, require_address
from agents.playbooks.models import DisabledAccount
from aurora.errors import Invalid
from aurora.texts import storable

if TYPE_CHECKING:
    from agents.playbooks.actions.directory import Directory, Entry

SERVES = frozenset({"disable_user"})
SECRETS = frozenset({"password"})

ATTRIBUTES = {"active_directory": "userAccountControl", "openldap": "pwdAccountLockedTime"}
ACCOUNT_DISABLE = 0x2
LOCKED_FOR_EVER = "000001010000Z"

_MOST_ACCOUNTS = 20
_ROUNDS = 5
"""How often an account is read again because somebody else changed it while we did."""
_NEVER = ("krbtgt*", "administrator")
_NEVER_RIDS = frozenset({500, 502})
"""Administrator and krbtgt of a domain, whatever they are named by now ([MS-DTYP] 2.4.2.4)."""
_NAMES = {"active_directory": ("sAMAccountName", "userPrincipalName")}
_ACCOUNTS = {"active_directory": "(&(objectCategory=person)(objectClass=user))"}
"""Computers are users, too, in Active Directory's schema; not persons."""

_ATTRIBUTE = "[A-Za-z][A-Za-z0-9-]{0,63}"
_POLICY_THAT_LOCKS = "(&(objectClass=pwdPolicy)(pwdLockout=TRUE))"

AttributeName = Annotated[str, StringConstraints(pattern=f"^{_ATTRIBUTE}$")]


class Settings(ConnectorSettings):
    """Where the directory is, who we are there, which of its entries are accounts and how one is disabled."""

    url: Annotated[str, StringConstraints(pattern=r"^ldaps?://[^\s/@?#\x00-\x1f\x7f-\x9f]+/?$", max_length=2000)] = (
        Field(description="ldaps://HOST, or ldap://HOST, where TLS is begun before anything is said (StartTLS).")
    )
    security: Literal["tls", "none"] = Field(
        "tls", description="none: ldap:// without TLS; the password is seen by all."
    )
    ca_pem: Pem = Field("", description="An authority of your own; empty: the system's.")
    bind_dn: str = Field(
        min_length=1, max_length=1000, description="Who signs in: a DN, in Active Directory also name@domain."
    )
    password: str = Field(min_length=1, max_length=1000)
    base_dn: str = Field(min_length=1, max_length=1000, description="Accounts are looked for here and below.")
    scheme: Literal["active_directory", "openldap", "attribute"]
    attribute: Annotated[str, StringConstraints(pattern=rf"^({_ATTRIBUTE})?$")] = Field(
        "", description="Of the scheme attribute, such as nsAccountLock."
    )
    disabled_value: str = Field("", max_length=500, description="What that attribute holds when disabled.")
    enabled_value: str = Field(
        "", max_length=500, description="What it holds when enabled; empty: what it held before."
    )
    user_attributes: list[AttributeName] = Field(
        [],
        max_length=5,
        description="What an account is named by; empty: uid, or sAMAccountName and userPrincipalName.",
    )
    user_filter: str = Field(
        "",
        max_length=2000,
        description="Which entries are accounts (RFC 4515); empty: all, in Active Directory persons.",
    )
    protected: list[Annotated[str, StringConstraints(min_length=1, max_length=1000)]] = Field(
        [],
        max_length=200,
        description="Names and DNs, * for any text, that are never disabled; nor are krbtgt, Administrator and who signs in.",
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        return require_address(url)

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        if self.security == "none" and self.url.startswith("ldaps:"):
            raise ValueError("`security` none takes an ldap:// address: ldaps:// is TLS")
        has_own = bool(self.attribute and self.disabled_value)
        if self.scheme == "attribute" and not has_own:
            raise ValueError("The scheme attribute needs `attribute` and `disabled_value`")
        if self.scheme != "attribute" and (self.attribute or self.disabled_value or self.enabled_value):
            raise ValueError("`attribute`, `disabled_value` and `enabled_value` belong to the scheme attribute")
        if has_own and self.enabled_value.casefold() == self.disabled_value.casefold():
            raise ValueError("`enabled_value` and `disabled_value` are the same")
        return self


def act(order: Order, wired: Wired) -> dict[str, Any]:
    """Disables accounts, or enables those that the step had disabled. One that is disabled already is a success, and is left so by the undo."""
    with _session(wired.settings, order.timeout) as directory:
        accounts = _Accounts(directory, wired.settings)
        return _enable(order, wired, accounts) if order.undo else _disable(order, wired, accounts)


def check(wired: Wired) -> str:
    """Signs in, reads the base entry, and looks for one account."""
    settings: Settings = wired.settings
    with _session(settings, 10) as directory:
        who = directory.who() or settings.bind_dn
        if directory.read(settings.base_dn, ["objectClass"]) is None:
            raise Invalid(f"Signed in as {who}; there is no {settings.base_dn}, or it may not be read")
        accounts = _Accounts(directory, settings)
        if not accounts.is_any():
            raise Invalid(f"Signed in as {who}; no account is to be seen below {settings.base_dn}")
        doubt = accounts.doubt()
    return f"Signed in as {who}; {settings.base_dn} is there and has accounts{doubt}"


def _disable(order: Order, wired: Wired, accounts: _Accounts) -> dict[str, Any]:
    names = list(dict.fromkeys(name.strip() for name in order.texts("users", "user")))
    if len(names) > _MOST_ACCOUNTS:
        raise Invalid(f"{len(names)} accounts in one step: at most {_MOST_ACCOUNTS} are disabled at once")
    # All of them are found, and none is protected, before the first is changed.
    found = {entry.dn: (name, entry) for name in names for entry in [accounts.find(name)]}
    for name, entry in found.values():
        accounts.require_unprotected(name, entry)
    told: list[dict[str, str]] = []
    try:
        for dn, (name, entry) in found.items():
            told.append({"user": name, "dn": dn, "state": _disable_one(order, wired, accounts, entry)})
    except Invalid as error:
        done = [one["dn"] for one in told if one["state"] == "disabled"]
        raise Invalid(f"{error.detail}{'; disabled before that: ' if done else ''}{', '.join(done)}") from None
    return {"accounts": told, "sessions": "not ended: a directory knows nothing of them"}


def _disable_one(order: Order, wired: Wired, accounts: _Accounts, entry: Entry) -> str:
    for _ in range(_ROUNDS):
        values = accounts.state_of(entry)
        row, is_new = DisabledAccount.objects.get_or_create(
            connector_id=wired.id,
            key=order.key,
            dn=entry.dn,
            defaults={"attribute": accounts.attribute, "before": values},
        )
        if row.disabled_at is not None:
            break  # the same key again, whatever became of the account since
        was_disabled = accounts.is_disabled(values)
        try:
            is_told = not was_disabled and accounts.disable(entry)
        except Invalid:
            if is_new:
                row.delete()
            raise
        entry = accounts.again(entry.dn)
        is_disabled = accounts.is_disabled(accounts.state_of(entry))
        if is_disabled and (was_disabled or is_told):
            DisabledAccount.objects.filter(pk=row.pk).update(disabled_at=timezone.now())
            break
        if is_told:
            raise Invalid(
                f"The directory took it and does not show {entry.dn} as disabled: may {accounts.attribute} be read?"
            )
        if is_new:
            row.delete()  # somebody else changed it meanwhile: how it stands now is what counts
    else:
        raise http.RefusedForNow(f"{entry.dn} was changed by somebody else again and again")
    return "was disabled before" if accounts.is_disabled(row.before) else "disabled"


def _enable(order: Order, wired: Wired, accounts: _Accounts) -> dict[str, Any]:
    rows = list(DisabledAccount.objects.filter(connector_id=wired.id, key=order.done_under).order_by("id"))
    if not rows:
        raise Invalid("It is not known which accounts this step disabled: none was enabled")
    told, faults = [], []
    for row in rows:
        try:
            told.append({"dn": row.dn, "state": _enable_one(row, accounts)})
        except Invalid as error:
            faults.append(error.detail)
    if faults:
        raise Invalid("; ".join([*faults, *(f"{one['dn']}: {one['state']}" for one in told)]))
    return {"accounts": told}


def _enable_one(row: DisabledAccount, accounts: _Accounts) -> str:
    if row.attribute != accounts.attribute:
        raise Invalid(f"{row.dn} was disabled by {row.attribute}, which this connector no longer sets")
    if accounts.is_disabled(row.before):
        return "left disabled: it was before the step"
    return "enabled" if row.enabled_at is not None else _give_back(row, accounts)


def _give_back(row: DisabledAccount, accounts: _Accounts) -> str:
    state = "was enabled before"
    for _ in range(_ROUNDS):
        # Looked for after the change, too: one that came in between has its row before it looks at the account.
        other = _disabled_by_another(row)
        entry = accounts.again(row.dn)
        if other is not None:
            if state == "enabled" and not accounts.is_disabled(accounts.state_of(entry)):
                accounts.disable(entry)
            if accounts.is_disabled(other.before):
                _hand_over(row, other)
            return "left disabled: another step disabled it since"
        if not accounts.is_disabled(accounts.state_of(entry)):
            DisabledAccount.objects.filter(pk=row.pk).update(enabled_at=timezone.now())
            return state
        accounts.enable(entry, row.before)
        state = "enabled"
    raise http.RefusedForNow(f"{row.dn} was told to be enabled, and does not show as such")


def _disabled_by_another(row: DisabledAccount) -> DisabledAccount | None:
    """A later step that wants the account disabled, or is just about to say so."""
    return (
        DisabledAccount.objects.filter(connector=row.connector, dn=row.dn, attribute=row.attribute)
        .filter(enabled_at=None, id__gt=row.id)
        .exclude(key=row.key)
        .order_by("id")
        .first()
    )


def _hand_over(row: DisabledAccount, other: DisabledAccount) -> None:
    """The other found the account as we had left it: how it stood before both is now what the other's undo puts back."""
    other.before, row.before = row.before, other.before
    DisabledAccount.objects.bulk_update([other, row], ["before"])


class _Accounts:
    """The accounts of a directory, as the settings name, disable and protect them."""

    def __init__(self, directory: Directory, settings: Settings) -> None:
        self._directory, self._settings = directory, settings
        self.attribute = ATTRIBUTES.get(settings.scheme, settings.attribute)
        self._named_by = tuple(settings.user_attributes) or _NAMES.get(settings.scheme, ("uid",))
        self._wanted = list(
            dict.fromkeys([*self._named_by, self.attribute, "cn", "sAMAccountName", "userPrincipalName", "objectSid"])
        )
        self._filter = settings.user_filter or _ACCOUNTS.get(settings.scheme, "(objectClass=*)")

    def find(self, name: str) -> Entry:
        """The one account of that name. Raises Invalid when there is none, or several."""
        from agents.playbooks.actions.directory import escaped

        named = "".join(f"({attribute}={escaped(name)})" for attribute in self._named_by)
        found = self._directory.search(self._settings.base_dn, f"(&{self._filter}(|{named}))", self._wanted, most=2)
        if not found:
            raise Invalid(f"No account is named {name[:200]}: nothing was changed")
        if len(found) > 1:
            raise Invalid(f"Several accounts are named {name[:200]}, such as {found[0].dn}: nothing was changed")
        return found[0]

    def again(self, dn: str) -> Entry:
        entry = self._directory.read(dn, self._wanted)
        if entry is None:
            raise Invalid(f"{dn} is no longer there")
        return entry

    def is_any(self) -> bool:
        return bool(self._directory.search(self._settings.base_dn, self._filter, [self.attribute], most=1))

    def doubt(self) -> str:
        """What a lock may be worth nothing for. A policy may also lie where we do not look, so it is no more than a doubt."""
        if self._settings.scheme != "openldap":
            return ""
        if self._directory.search(self._settings.base_dn, _POLICY_THAT_LOCKS, ["cn"], most=1):
            return ""
        return "; no password policy with pwdLockout TRUE is to be seen, and without one a lock locks nobody out"

    def state_of(self, entry: Entry) -> list[str]:
        """The values by which it is disabled or not. Raises Invalid where they cannot be told."""
        values = entry.texts(self.attribute)
        if self._settings.scheme == "active_directory" and not (len(values) == 1 and _NUMBER.match(values[0])):
            raise Invalid(f"{entry.dn} shows no {self.attribute}: it is no account, or may not be read")
        return values

    def is_disabled(self, values: Sequence[str]) -> bool:
        match self._settings.scheme:
            case "active_directory":
                return bool(int(values[0]) & ACCOUNT_DISABLE)
            case "openldap":
                return LOCKED_FOR_EVER in values
            case _:
                return self._settings.disabled_value.casefold() in (value.casefold() for value in values)

    def disable(self, entry: Entry) -> bool:
        """False when somebody else changed it meanwhile."""
        values = self.state_of(entry)
        match self._settings.scheme:
            case "active_directory":
                return self._exchange(entry, values, int(values[0]) | ACCOUNT_DISABLE)
            case "openldap":
                self._directory.replace(entry.dn, self.attribute, [LOCKED_FOR_EVER])
            case _:
                self._directory.replace(entry.dn, self.attribute, [self._settings.disabled_value])
        return True

    def enable(self, entry: Entry, before: Sequence[str]) -> bool:
        """As it stood before; of Active Directory's bits only the one. False when somebody else changed it meanwhile."""
        if self._settings.scheme == "active_directory":
            values = self.state_of(entry)
            return self._exchange(entry, values, int(values[0]) & ~ACCOUNT_DISABLE)
        own = self._settings.enabled_value
        self._directory.replace(entry.dn, self.attribute, [own] if own else before)
        return True

    def require_unprotected(self, name: str, entry: Entry) -> None:
        """Raises Invalid for what is never disabled."""
        held = (value for attribute in self._names_of for value in entry.attributes.get(attribute.lower(), ()))
        names = {_folded(value.decode("utf-8", "replace")) for value in held} | {_folded(name)}
        patterns = [_folded(pattern) for pattern in (*_NEVER, *self._settings.protected)]
        if any(fnmatchcase(text, pattern) for text in (_folded(entry.dn), *names) for pattern in patterns):
            raise Invalid(f"{entry.dn} is protected: nothing was changed")
        if any(int.from_bytes(sid[-4:], "little") in _NEVER_RIDS for sid in entry.attributes.get("objectsid", ())):
            raise Invalid(f"{entry.dn} is the domain's own and protected: nothing was changed")
        if self._is_ours(entry, names):
            raise Invalid(f"{entry.dn} is the account that signs in here: nothing was changed")

    @property
    def _names_of(self) -> Iterator[str]:
        return (name for name in self._wanted if name not in (self.attribute, "objectSid"))

    def _is_ours(self, entry: Entry, names: set[str]) -> bool:
        """Whether it is who signs in: by DN as written and as the directory writes it, or as `DOMAIN\\name` and `name@domain`."""
        bind = self._settings.bind_dn
        if "=" not in bind:
            return bool(names & {_folded(bind), _folded(bind.rpartition("\\")[2]), _folded(bind.partition("@")[0])})
        as_told = self._directory.read(bind, ["objectClass"])
        return _folded(entry.dn) in {_folded(bind), _folded(as_told.dn if as_told else bind)}

    def _exchange(self, entry: Entry, values: Sequence[str], wanted: int) -> bool:
        return self._directory.exchange(entry.dn, self.attribute, values, [str(wanted)])


_NUMBER = re.compile(r"^-?\d{1,10}$")


def _folded(text: str) -> str:
    """For comparing names and DNs: neither case nor blanks around separators tell any apart."""
    return re.sub(r"\s*([,=+])\s*", r"\1", storable(text).strip()).casefold()


@contextmanager
def _session(settings: Settings, timeout: float) -> Iterator[Directory]:
    from agents.playbooks.actions.directory import session  # ldap3 takes 0.2 s to import: only who uses it waits

    with session(settings, timeout) as directory:
        yield directory
