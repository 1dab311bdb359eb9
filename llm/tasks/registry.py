"""A task by its name on the command line."""

from __future__ import annotations

from pathlib import Path

from diffsmooth.llm.tasks._rows import LeftOut
from diffsmooth.llm.tasks.base import Task
from diffsmooth.llm.tasks.countdown import CountDown, Style
from diffsmooth.llm.tasks.countdown_data import (
    PUBLIC,
    Generator,
    load_puzzles,
    local_puzzles,
)
from diffsmooth.llm.tasks.normal_form import Form
from diffsmooth.llm.tasks.puzzle import Puzzle
from diffsmooth.llm.tasks.splits import Split


def load_task(
    task: str,
    data: str | Path | None = None,
    *,
    split: Split = "test",
    limit: int | None = None,
    style: Style = "tags",
    form: Form = "ac",
    generator: Generator | None = None,
    seed: int = 0,
) -> Task:
    """The task that ``task`` and ``data`` name.

    ``"countdown"``
        ``data`` a local file, ``"public"`` (the public data set, from the hub), or ``None``:
        ``limit`` (default 64) distinct problems of ``split`` drawn by ``generator`` and ``seed``.
    ``"colouring"``
        graph colouring: ``data`` a local file, or ``None``: ``limit`` (default 64) distinct graphs
        of ``split`` drawn by the default ``GraphLaw`` and ``seed``.
    a key of ``math_data.SOURCES`` or ``"file"``
        mathematics, from the hub or from the local file ``data``.
    ``"path/to/file.py:function"``
        a user's own judge over ``data``.

    ``style`` concerns CountDown and colouring, ``form`` and ``generator`` CountDown.  Raises
    ``ValueError`` for an unknown task, listing the known ones.
    """
    if ".py:" in task:
        from diffsmooth.llm.tasks.own import OwnTask

        if data is None:
            raise ValueError(f"data is missing: the task {task!r} needs a data file")
        return OwnTask.load(task, data)
    if task == "countdown":
        puzzles: list[Puzzle]
        repeats: list[LeftOut] = []
        if data is None:
            puzzles = (generator or Generator()).distinct(split, limit or 64, seed)
        elif data in ("public", PUBLIC):
            puzzles = load_puzzles(PUBLIC, split, limit)
        else:
            puzzles, repeats = local_puzzles(data)
        return CountDown(puzzles[:limit], style=style, form=form, left_out=repeats)
    if task == "colouring":
        from diffsmooth.llm.tasks.colouring import Colouring, GraphLaw, local_graphs

        if data is None:
            return Colouring(GraphLaw().distinct(split, limit or 64, seed), style=style)
        graphs, repeats = local_graphs(data)
        return Colouring(graphs[:limit], style=style, left_out=repeats)
    from diffsmooth.llm.tasks.math_data import SOURCES
    from diffsmooth.llm.tasks.mathematics import Mathematics

    if task not in SOURCES and task != "file":
        known = ["countdown", "file", *SOURCES, "colouring", "path/to/file.py:function"]
        raise ValueError(f"task is {task!r}; allowed: {', '.join(known)}")
    return Mathematics.load(task, data)
