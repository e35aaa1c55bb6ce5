"""Django's WSGI handler: every HTTP request of the product runs in it."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aurora.settings")

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest


class Utf8Request(WSGIRequest):
    """A request whose texts are UTF-8, as those of JSON and of every browser's forms are, whatever `charset` its media type names.

    Django would decode query strings by that name, and Python knows names (`hex`, `idna`) that decode no text: they ended in a failure
    outside of all error handling. What the media type's other parameters look like is nobody's business either.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type = meta.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        self.content_params = {}


class Handler(WSGIHandler):
    """Django's, making such requests."""

    request_class = Utf8Request


django.setup(set_prefix=False)
application = Handler()
