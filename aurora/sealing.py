"""Secrets that the product must be able to use again: kept encrypted, readable with the installation's key alone.

Fernet (AES-CBC with an HMAC) under a key that HKDF derives from `SECRET_KEY`, one for each purpose, so that nothing sealed for one can be
opened as another.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from aurora.errors import Conflict


def seal(secret: str, *, purpose: str) -> str:
    """The secret as text that may lie in a database."""
    return _fernet(purpose).encrypt(secret.encode()).decode()


def unseal(sealed: str, *, purpose: str) -> str:
    """What was sealed. Raises Conflict when it was sealed under another key or altered since."""
    try:
        return _fernet(purpose).decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise Conflict("A stored secret cannot be read: the secret key has changed, set it again") from None


def key_for(purpose: str) -> bytes:
    """32 bytes of the installation's key that serve this purpose alone."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"aurora:{purpose}".encode())
    return derived.derive(settings.SECRET_KEY.encode())


def _fernet(purpose: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(key_for(purpose)))
