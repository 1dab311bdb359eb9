"""A kill ends a command and its workers at once, and nothing is said to have leaked."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from diffsmooth.cli._stop import stoppable

SCRIPT = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from diffsmooth.cli._stop import stoppable

def work(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(300)

if __name__ == "__main__":
    try:
        with stoppable(), ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            for job in [pool.submit(work, sys.argv[1]) for _ in range(2)]:
                job.result()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_ends_the_workers_and_leaks_nothing(number: signal.Signals, tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "workers"
    script.write_text(SCRIPT)
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        if number == signal.SIGTERM:
            _, error = process.communicate(timeout=60)
            assert process.returncode == 130
            for worker in folder.iterdir():
                with pytest.raises(ProcessLookupError):
                    os.kill(int(worker.name), 0)
        else:
            process.wait(timeout=60)
            for worker in folder.iterdir():
                os.kill(int(worker.name), signal.SIGKILL)
            _, error = process.communicate(timeout=60)
        assert "leaked" not in error
    finally:
        for worker in folder.iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(worker.name), signal.SIGKILL)


def test_the_handler_and_the_filters_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        assert os.environ["PYTHONWARNINGS"].startswith("error,")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert os.environ["PYTHONWARNINGS"] == "error"


def test_a_thread_may_use_it() -> None:
    ran: list[bool] = []

    def inside() -> None:
        with stoppable():
            ran.append(True)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert ran == [True]
