"""A pool of answer-checking processes with a hard timeout: a hung worker is killed and replaced.

Signals cannot interrupt a computation in a thread or inside C code; killing the process can.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

Outcome = Literal["correct", "wrong", "timeout", "error"]

START_SECONDS = 120.0
COMMAND: tuple[str, ...] = (sys.executable, "-m", "diffsmooth.llm.tasks.math_worker")


@dataclass
class _Worker:
    """A process with at most one comparison under way."""

    process: subprocess.Popen[str]
    deadline: float
    job: int | None = None
    ready: bool = False


class MathPool:
    """``workers`` processes, each comparison killed after ``timeout`` seconds.

    Processes start at the first use and end with :meth:`close`, at the end of a ``with`` block or
    with the interpreter.  Calls from several threads wait for each other.  Raises ``ValueError``
    for fewer than one worker or a timeout that is not positive, ``RuntimeError`` where workers
    cannot start (``math-verify`` is missing).
    """

    def __init__(
        self, workers: int = 2, timeout: float = 5.0, command: Sequence[str] = COMMAND
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}; allowed: at least 1")
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout} s; allowed: above 0")
        self.size, self.timeout, self.command = workers, timeout, tuple(command)
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._memory: dict[tuple[str, str], Outcome] = {}

    def __enter__(self) -> MathPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes; the pool starts new ones when it is used again."""
        with self._lock:
            while self._workers:
                self._stop(self._workers.pop())
            atexit.unregister(self.close)

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[Outcome]:
        """Outcome of each (reference, answer) pair, in order; a repeated pair is compared once."""
        with self._lock:
            todo = deque(dict.fromkeys(p for p in pairs if p not in self._memory))
            if todo:
                self._run(list(todo))
            return [self._memory[pair] for pair in pairs]

    def _run(self, jobs: list[tuple[str, str]]) -> None:
        waiting = deque(range(len(jobs)))
        open_jobs = len(jobs)
        while len(self._workers) < min(self.size, len(jobs)):
            self._workers.append(self._start())
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]

            def replace(worker: _Worker) -> None:
                selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
                self._workers.remove(worker)
                self._stop(worker)
                if not worker.ready:
                    raise RuntimeError(
                        f"a checking process did not start: {' '.join(self.command)}; "
                        "is math-verify installed (the [trl] extra)?"
                    )
                fresh = self._start()
                self._workers.append(fresh)
                selector.register(fresh.process.stdout, selectors.EVENT_READ, fresh)  # type: ignore[arg-type]

            while open_jobs:
                for worker in list(self._workers):
                    if worker.ready and worker.job is None and worker.process.poll() is not None:
                        replace(worker)  # it died while idle; no answer is to blame
                    elif worker.ready and worker.job is None and waiting:
                        worker.job = waiting.popleft()
                        worker.deadline = time.monotonic() + self.timeout
                        self._send(worker, jobs[worker.job])
                busy = [w for w in self._workers if w.job is not None or not w.ready]
                wait = min(w.deadline for w in busy) - time.monotonic()
                for key, _ in selector.select(max(0.0, wait)):
                    worker = key.data
                    line = worker.process.stdout.readline()
                    if line and not worker.ready:
                        worker.ready, worker.deadline = True, float("inf")
                    elif line and worker.job is not None:
                        reply = json.loads(line)
                        outcome: Outcome = "correct" if reply["correct"] else "wrong"
                        self._memory[jobs[worker.job]] = "error" if reply["error"] else outcome
                        worker.job, open_jobs = None, open_jobs - 1
                    else:  # it died: out of memory, or killed
                        if worker.job is not None:
                            self._memory[jobs[worker.job]] = "error"
                            open_jobs -= 1
                        replace(worker)
                now = time.monotonic()
                for worker in list(self._workers):
                    if now >= worker.deadline and (worker.job is not None or not worker.ready):
                        if worker.job is not None:
                            self._memory[jobs[worker.job]] = "timeout"
                            open_jobs -= 1
                        replace(worker)

    def _start(self) -> _Worker:
        atexit.unregister(self.close)
        atexit.register(self.close)
        process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return _Worker(process, time.monotonic() + START_SECONDS)

    @staticmethod
    def _send(worker: _Worker, pair: tuple[str, str]) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps({"gold": pair[0], "answer": pair[1]}) + "\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end of file is read next and counts as a crash

    @staticmethod
    def _stop(worker: _Worker) -> None:
        worker.process.kill()
        for stream in (worker.process.stdin, worker.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        worker.process.wait()
