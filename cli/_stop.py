"""A kill ends a command as Ctrl-C does: workers stop, what is finished is kept, nothing leaks.

By default SIGTERM ends Python on the spot: worker processes go on by themselves, and their
semaphores are found leaked by multiprocessing's tracker, which says so on the terminal.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What the tracker prints after kill -9, which no process can handle; it cleans up all the same.
_TRACKER = "ignore:resource_tracker"


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGTERM ends the worker processes and raises ``KeyboardInterrupt``.

    Outside the main thread, where Python handles no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        from multiprocessing import active_children

        for child in active_children():
            child.terminate()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    filters = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{filters},{_TRACKER}" if filters else _TRACKER
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if filters is None:
            os.environ.pop("PYTHONWARNINGS", None)
        else:
            os.environ["PYTHONWARNINGS"] = filters
