"""Run as a process by `test_processes`: one worker until SIGTERM. Prints a line when it starts."""

from __future__ import annotations

import signal
import sys
import threading

import django


def main() -> None:
    django.setup()
    from tests.aurora.bus.scene import Noting

    stop = threading.Event()
    thread = threading.Thread(target=Noting().run, args=(stop,))
    thread.start()
    sys.stdout.write("started\n")
    sys.stdout.flush()
    signal.sigwait([signal.SIGTERM])
    stop.set()
    thread.join()


if __name__ == "__main__":
    # Before any thread is there, so that none is interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
