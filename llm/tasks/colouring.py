"""Graph colouring: give every node one of three colours, no edge two nodes of one colour.

A task with many right answers and one wording of each: the answer is the text of the n colours,
so two right answers are the same answer exactly where they are the same digits.  Score 1 for a
proper colouring, 0.1 for n colours that are none, 0 otherwise; only score 1 is correct.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.tasks._rows import LeftOut, read_rows, shown
from diffsmooth.llm.tasks.base import NO_ANSWER, Problem, Verdict
from diffsmooth.llm.tasks.countdown import FORMAT_SCORE, Style, extract
from diffsmooth.llm.tasks.notation import peeled
from diffsmooth.llm.tasks.splits import Split, check_split, distinct, split_of_key

if TYPE_CHECKING:
    import numpy as np

#: Number of colours; they are written 1, 2, 3.
COLOURS = 3

#: Most nodes of a graph: their colourings can still be counted exactly.
MAX_NODES = 24

#: Longest answer that is read.
MAX_CHARS = 256

Edge = tuple[int, int]

_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_BRACKETS = (("[", "]"), ("(", ")"))


@dataclass(frozen=True)
class Graph:
    """Nodes 1 to ``n`` and undirected edges, kept in ascending order.

    Raises ``ValueError`` for a number of nodes outside 1 to ``MAX_NODES``, an edge that leaves
    the graph, joins a node to itself or occurs twice.
    """

    n: int
    edges: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MAX_NODES:
            raise ValueError(f"n is {self.n}; allowed: 1 to {MAX_NODES} nodes")
        edges = tuple(sorted((min(edge), max(edge)) for edge in self.edges))
        for i, (u, v) in enumerate(edges):
            if u == v:
                raise ValueError(f"edges holds {u}-{v}, which joins a node to itself")
            if u < 1 or v > self.n:
                raise ValueError(f"edges holds {u}-{v}; allowed: nodes 1 to {self.n}")
            if i and edges[i - 1] == (u, v):
                raise ValueError(f"edges holds {u}-{v} twice")
        object.__setattr__(self, "edges", edges)

    @property
    def key(self) -> str:
        """Name of the graph, e.g. ``"4=1-2,2-3"``; nodes are told apart by their numbers."""
        return f"{self.n}={','.join(f'{u}-{v}' for u, v in self.edges)}"


def colours(graph: Graph, text: str) -> str | None:
    """The colours in ``text`` as ``graph.n`` digits, ``None`` where it is no list of them.

    The digits may be separated, all of them, by commas or white space, stand in one pair of
    brackets and in the wrappers of ``notation``.
    """
    if len(text) > MAX_CHARS:
        return None
    text = peeled(text)
    for left, right in _BRACKETS:
        if text.startswith(left) and text.endswith(right):
            text = text[1:-1].strip()
            break
    digits = _SEPARATOR.split(text)
    if len(digits) > 1 and any(len(digit) != 1 for digit in digits):
        return None
    found = "".join(digits)
    return found if re.fullmatch(rf"[1-{COLOURS}]{{{graph.n}}}", found) else None


def proper(graph: Graph, found: str) -> bool:
    """Whether the ``graph.n`` digits ``found`` differ along every edge."""
    return all(found[u - 1] != found[v - 1] for u, v in graph.edges)


def check(graph: Graph, text: str) -> Verdict:
    """Judge a bare answer; never raises for any text."""
    found = colours(graph, text)
    if found is None:
        return NO_ANSWER
    correct = proper(graph, found)
    return Verdict(1.0 if correct else FORMAT_SCORE, correct, found)


@lru_cache(maxsize=1 << 14)
def count_colourings(graph: Graph) -> int:
    """Number of proper colourings, exactly.

    Nodes are coloured in their order; of those before only the colours of nodes with edges to
    come are kept, up to a renaming of the colours, each state with the number of ways to it.
    """
    last = {u: max((v for w, v in graph.edges if w == u), default=u) for u in range(1, graph.n + 1)}
    before: dict[int, list[int]] = {v: [] for v in last}
    for u, v in graph.edges:
        before[v].append(u)
    open_nodes: list[int] = []
    states: dict[tuple[int, ...], int] = {(): 1}
    for v in last:
        joined = [i for i, u in enumerate(open_nodes) if u in before[v]]
        keep = [i for i, u in enumerate([*open_nodes, v]) if last[u] > v]
        following: dict[tuple[int, ...], int] = {}
        for state, ways in states.items():
            taken = {state[i] for i in joined}
            for colour in range(COLOURS):
                if colour not in taken:
                    whole = (*state, colour)
                    name = _renamed(tuple(whole[i] for i in keep))
                    following[name] = following.get(name, 0) + ways
        open_nodes = [([*open_nodes, v])[i] for i in keep]
        states = following
    return sum(states.values())


def _renamed(state: tuple[int, ...]) -> tuple[int, ...]:
    """``state`` with its colours numbered as they first occur."""
    names: dict[int, int] = {}
    return tuple(names.setdefault(colour, len(names)) for colour in state)


@dataclass(frozen=True)
class GraphLaw:
    """Law of generated graphs: their nodes, and the share of the possible edges.

    Every graph is drawn around a hidden uniform colouring: of the pairs of nodes that it tells
    apart, each is an edge with probability ``density``; so every graph can be coloured.
    """

    min_nodes: int = 6
    """Fewest nodes."""

    max_nodes: int = 6
    """Most nodes."""

    density: float = 0.5
    """Probability of an edge between two nodes of different hidden colour."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_nodes <= self.max_nodes <= MAX_NODES:
            raise ValueError(
                f"min_nodes {self.min_nodes}, max_nodes {self.max_nodes}; "
                f"allowed: 1 <= min_nodes <= max_nodes <= {MAX_NODES}"
            )
        if not 0 <= self.density <= 1:
            raise ValueError(f"density is {self.density}; allowed: 0 to 1")

    def draw(self, rng: np.random.Generator) -> Graph:
        """One graph of any split."""
        n = int(rng.integers(self.min_nodes, self.max_nodes + 1))
        hidden = rng.integers(0, COLOURS, n)
        pairs = [(u, v) for u, v in combinations(range(n), 2) if hidden[u] != hidden[v]]
        drawn = rng.random(len(pairs)) < self.density
        return Graph(
            n, tuple((u + 1, v + 1) for (u, v), edge in zip(pairs, drawn, strict=True) if edge)
        )

    def stream(self, split: Split, seed: int | np.random.SeedSequence) -> Iterator[Graph]:
        """Endless graphs of ``split``, repeats included; the same seed gives the same stream."""
        check_split(split)
        import numpy as np

        rng = np.random.Generator(np.random.Philox(seed))
        while True:
            graph = self.draw(rng)
            if split_of_key(graph.key) == split:
                yield graph

    def distinct(self, split: Split, count: int, seed: int | np.random.SeedSequence) -> list[Graph]:
        """``count`` different graphs of ``split``.

        Raises ``ValueError`` where the law has fewer (``splits.distinct``).
        """
        return distinct(self.stream(split, seed), count, lambda graph: graph.key, split)


def graph_from_row(row: Mapping[str, Any]) -> Graph:
    """The graph in a row with the columns ``n`` and ``edges`` (a list of pairs of nodes).

    Raises ``ValueError`` naming the column that is missing or holds something else.
    """
    for column in ("n", "edges"):
        if column not in row:
            raise ValueError(f"row has no column {column!r}; found: {', '.join(sorted(row))}")
    n, edges = row["n"], row["edges"]
    if not _whole(n):
        raise ValueError(f"column 'n' holds {shown(n)}; allowed: a whole number")
    if not isinstance(edges, list) or not all(
        isinstance(edge, list | tuple) and len(edge) == 2 and all(map(_whole, edge))
        for edge in edges
    ):
        raise ValueError(f"column 'edges' holds {shown(edges)}; allowed: a list of pairs of nodes")
    return Graph(int(n), tuple((int(u), int(v)) for u, v in edges))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def local_graphs(path: str | Path) -> tuple[list[Graph], list[LeftOut]]:
    """The graphs of a local file, and the rows that only repeat a graph above them.

    Raises ``FileNotFoundError``, and ``ValueError`` with file and line of a row that is no graph.
    """
    first: dict[Graph, str] = {}
    repeats: list[LeftOut] = []
    for place, columns in read_rows(path, json_columns=("n", "edges")):
        try:
            graph = graph_from_row(columns)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if graph in first:
            repeats.append(LeftOut(place, f"the graph of {first[graph]} again"))
        first.setdefault(graph, place)
    if not first:
        raise ValueError(f"{path} has no rows; a graph has the columns 'n' and 'edges'")
    return list(first), repeats


def bare_prompt(graph: Graph) -> str:
    """The small model's prompt, e.g. ``"4=1-2,2-3:"``; the n digits follow."""
    return f"{graph.key}:"


def chat_prompt(graph: Graph) -> str:
    """The instruction for a large language model."""
    edges = ", ".join(f"{u}-{v}" for u, v in graph.edges) or "none"
    example = ("123" * MAX_NODES)[: graph.n]
    return (
        f"Colour the nodes 1 to {graph.n} of a graph with the colours 1, 2 and 3 so that no edge "
        f"joins two nodes of one colour. The edges are: {edges}. Think step by step, then give "
        f"the colours of nodes 1 to {graph.n} in this order, as {graph.n} digits, between "
        f"<answer> and </answer>, for example <answer>{example}</answer>."
    )


class Colouring:
    """The graph colouring task over given graphs.

    ``style`` is ``"tags"`` (chat prompt, answer in tags) or ``"bare"`` (small model).
    ``left_out`` are the rows of the data that only repeat a graph and so are no problems.
    """

    def __init__(
        self,
        graphs: Sequence[Graph] = (),
        *,
        style: Style = "tags",
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        if style not in ("tags", "bare"):
            raise ValueError(f"style is {style!r}; allowed: tags, bare")
        self.style: Style = style
        self.left_out = tuple(left_out)
        self._problems = tuple(map(self.problem, graphs))
        if len({p.id for p in self._problems}) != len(self._problems):
            raise ValueError("graphs holds one graph twice")

    @property
    def name(self) -> str:
        return "colouring"

    def problem(self, graph: Graph) -> Problem[Graph]:
        """``graph`` with its prompt; the id is its key."""
        bare = self.style == "bare"
        prompt = bare_prompt(graph) if bare else chat_prompt(graph)
        return Problem(graph.key, prompt, graph, raw=bare)

    def problems(self) -> Sequence[Problem[Graph]]:
        return self._problems

    def verify(self, problem: Problem[Graph], text: str) -> Verdict:
        answer = extract(text) if self.style == "tags" else text
        return NO_ANSWER if answer is None else check(problem.payload, answer)

    def verify_many(self, pairs: Iterable[tuple[Problem[Graph], str]]) -> list[Verdict]:
        return [self.verify(problem, text) for problem, text in pairs]

    def multiplicity(self, problem: Problem[Graph]) -> int:
        """Number of proper colourings."""
        return count_colourings(problem.payload)
