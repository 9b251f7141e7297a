"""Ctrl-C while a script still imports what it needs, before `cli.run_main` can handle it."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130  # exit code of a program ended by Ctrl-C: 128 + SIGINT


def leave_on_interrupt() -> None:
    """Until `raise_on_interrupt`, let Ctrl-C end the process with its code and no traceback.

    Where it is ignored, as in a shell's background jobs, it stays so. A thread but the main one can change nothing.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:  # noqa: SIM105, since contextlib takes its time to import
            signal.signal(signal.SIGINT, _leave)
        except ValueError:  # not the main thread
            pass


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, where `leave_on_interrupt` has changed that."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)  # nothing was said or opened; an exception might be lost in an import
