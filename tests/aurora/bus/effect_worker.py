"""Run as a process by tests: one worker until SIGTERM, with `together` one that handles in batches, with `relay` a relay. Prints a
line when it starts.

`stumbling 8` begins so many processes, each with a worker that is in order and fails now and then: beginning them one by one would take longer than
what they are to do. Their ids are the line; they end with their session.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import django


def main() -> None:
    django.setup()
    from aurora.bus.registry import Runner
    from aurora.bus.relay import Relay
    from tests.aurora.bus.scene import Noting, NotingTogether, Stumbling

    kinds: dict[str, type[Runner]] = {
        "relay": Relay,
        "together": NotingTogether,
        "stumbling": Stumbling,
        "alone": Noting,
    }
    kind = kinds[sys.argv[1] if len(sys.argv) > 1 else "alone"]
    if len(sys.argv) > 2:
        children = [fork(kind) for _ in range(int(sys.argv[2]))]
        say(" ".join(map(str, children)))
        for child in children:
            os.waitpid(child, 0)
    else:
        stop = threading.Event()
        thread = threading.Thread(target=kind().run, args=(stop,))
        say("started")  # before the thread may write a line of the log
        thread.start()
        signal.sigwait([signal.SIGTERM])
        stop.set()
        thread.join()


def fork(kind: type) -> int:
    """The process of another worker, whose log nobody reads."""
    if child := os.fork():
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    kind().run(threading.Event())
    os._exit(1)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Before any thread is there, so that none is interrupted.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
