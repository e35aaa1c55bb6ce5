#!/usr/bin/env python
"""Django's command line."""

import os
import signal
import sys

GROUP = {"up", "serve", "work"}
"""What a terminal's Ctrl-C reaches all at once."""


def main() -> None:
    if GROUP & set(sys.argv[1:2]):
        # Until the command has a handler of its own. Python's would throw a traceback out of the middle of some import, one from each process.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aurora.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        settings.DEBUG  # noqa: B018 - reads the environment
    except ImproperlyConfigured as error:
        sys.exit(f"{error}")  # the operator's mistake, named: where in our code it was found is of no help
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
