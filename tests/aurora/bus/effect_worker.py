"""Run as a process by tests: one worker until SIGTERM, with `together` one that handles in batches, with `relay` a relay. Prints a
line when it starts."""

from __future__ import annotations

import signal
import sys
import threading

import django


def main() -> None:
    django.setup()
    from aurora.bus.registry import Runner
    from aurora.bus.relay import Relay
    from tests.aurora.bus.scene import Noting, NotingTogether

    stop = threading.Event()
    kinds: dict[str, type[Runner]] = {"relay": Relay, "together": NotingTogether, "alone": Noting}
    runner = kinds[sys.argv[1] if len(sys.argv) > 1 else "alone"]()
    thread = threading.Thread(target=runner.run, args=(stop,))
    sys.stdout.write("started\n")  # before the thread may write a line of the log
    sys.stdout.flush()
    thread.start()
    signal.sigwait([signal.SIGTERM])
    stop.set()
    thread.join()


if __name__ == "__main__":
    # Before any thread is there, so that none is interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
