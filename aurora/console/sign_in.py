"""The console's sign-in form: the same quota on guesses as at the API."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm

from aurora.errors import RateLimited
from aurora.rest import limits


class SignInForm(AuthenticationForm):
    """Refuses to look at a password while there were too many attempts; `retry_after` then says for how long."""

    retry_after = 0

    def clean(self) -> dict[str, Any]:
        if self.request is not None:
            try:
                limits.require_room_to_sign_in(self.request, self.cleaned_data.get("username", ""))
            except RateLimited as error:
                self.retry_after = int(error.retry_after)
                raise ValidationError(error.detail) from None
        return super().clean()
