"""Graph colouring: what is an answer, what is right, how many right answers there are."""

from __future__ import annotations

import json
import random
from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.cli import main
from diffsmooth.llm.small import SmallModel, build, save, tokenizer
from diffsmooth.llm.tasks.base import NO_ANSWER, Task, Verdict
from diffsmooth.llm.tasks.colouring import (
    MAX_NODES,
    Colouring,
    Graph,
    GraphLaw,
    check,
    count_colourings,
)
from diffsmooth.llm.tasks.registry import load_task
from diffsmooth.llm.tasks.splits import split_of_key
from diffsmooth.records import read_table


@st.composite
def graphs(draw: st.DrawFn, most: int = 6) -> Graph:
    n = draw(st.integers(1, most))
    pairs = list(combinations(range(1, n + 1), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return Graph(n, tuple(edges))


def brute(graph: Graph) -> list[str]:
    """All proper colourings, by trying every text."""
    texts = map("".join, product("123", repeat=graph.n))
    return [t for t in texts if all(t[u - 1] != t[v - 1] for u, v in graph.edges)]


@given(graphs())
def test_the_count_is_the_number_of_right_answers(graph: Graph) -> None:
    right = set(brute(graph))
    assert count_colourings(graph) == len(right)
    for digits in map("".join, product("123", repeat=graph.n)):
        correct = digits in right
        assert check(graph, digits) == Verdict(1.0 if correct else 0.1, correct, digits)


def complete(n: int) -> Graph:
    return Graph(n, tuple(combinations(range(1, n + 1), 2)))


def cycle(n: int) -> Graph:
    return Graph(n, tuple((i, i % n + 1) for i in range(1, n + 1)))


def test_known_chromatic_polynomials() -> None:
    """At 3 colours: no edges 3^n, a path 3 * 2^(n-1), a cycle 2^n + 2 (-1)^n, K3 6, K4 0."""
    assert count_colourings(complete(3)) == 6
    assert count_colourings(complete(4)) == 0
    for n in (3, 4, 9, MAX_NODES):
        assert count_colourings(cycle(n)) == 2**n + 2 * (-1) ** n
        assert count_colourings(Graph(n)) == 3**n
        path = Graph(n, tuple((i, i + 1) for i in range(1, n)))
        assert count_colourings(path) == 3 * 2 ** (n - 1)
    # The Petersen graph has 120 proper 3-colourings.
    outer = [(i, i % 5 + 1) for i in range(1, 6)]
    inner = [(i + 6, (i + 2) % 5 + 6) for i in range(5)]
    spokes = [(i, i + 5) for i in range(1, 6)]
    assert count_colourings(Graph(10, (*outer, *inner, *spokes))) == 120


@given(graphs(), st.randoms(use_true_random=False))
def test_the_count_does_not_depend_on_the_names_of_the_nodes(
    graph: Graph, rng: random.Random
) -> None:
    names = list(range(1, graph.n + 1))
    rng.shuffle(names)
    other = Graph(graph.n, tuple((names[u - 1], names[v - 1]) for u, v in graph.edges))
    assert count_colourings(other) == count_colourings(graph)


PATH = Graph(3, ((2, 1), (2, 3)))


@pytest.mark.parametrize(
    "text",
    ["121", " 121\n", "1 2 1", "1,2,1", "1, 2, 1", "1\n2\n1", "[1, 2, 1]", "(1,2,1)", "**121**",
     "`121`", "```\n121\n```", "$121$", "\\boxed{121}", "\\[ [1, 2, 1] \\]"],
)  # fmt: skip
def test_notations_of_one_answer(text: str) -> None:
    assert check(PATH, text) == Verdict(1.0, True, "121")


@pytest.mark.parametrize(
    "text",
    ["", "12", "1211", "124", "120", "１２１", "12 1", "1 21", "1-2-1", "1;2;1", "1,,2,1", "1,2,1,",
     "colours 121", "121.", "1 2 1 (node order)", "[121", "[[1,2,1]]", "{1,2,1}", "1.0,2.0,1.0",
     "1" * 10**5, "[" * 10**5, "1," * 10**5, "\0"],
)  # fmt: skip
def test_what_is_no_answer(text: str) -> None:
    assert check(PATH, text) == NO_ANSWER


@given(graphs(), st.text(alphabet="123 ,[]()`*$\n4x", max_size=20))
def test_a_right_answer_is_its_digits(graph: Graph, text: str) -> None:
    """Whatever is accepted holds the digits of its name in order, and no other digit."""
    verdict = check(graph, text)
    if verdict.canonical is not None:
        assert [c for c in text if c.isalnum()] == list(verdict.canonical)
        assert verdict.correct == (verdict.canonical in brute(graph))


def test_edges_are_normalised_and_checked() -> None:
    assert Graph(3, ((3, 1), (2, 1))) == Graph(3, ((1, 2), (1, 3)))
    assert PATH.key == "3=1-2,2-3"
    for n, edges, said in (
        (0, (), "n is 0"),
        (MAX_NODES + 1, (), "allowed: 1 to"),
        (2, ((1, 1),), "to itself"),
        (2, ((1, 3),), "nodes 1 to 2"),
        (2, ((0, 1),), "nodes 1 to 2"),
        (2, ((1, 2), (2, 1)), "1-2 twice"),
    ):
        with pytest.raises(ValueError, match=said):
            Graph(n, edges)


def test_generated_graphs_can_be_coloured_and_splits_do_not_meet() -> None:
    law = GraphLaw(3, 7, 0.6)
    found = {split: law.distinct(split, 60, 1) for split in ("train", "valid", "test")}
    keys = [graph.key for graphs in found.values() for graph in graphs]
    assert len(set(keys)) == len(keys) == 180
    for split, drawn in found.items():
        assert all(split_of_key(g.key) == split for g in drawn)
        assert all(count_colourings(g) > 0 for g in drawn)
    assert law.distinct("train", 60, 1) == found["train"]
    assert law.distinct("train", 60, 2) != found["train"]
    with pytest.raises(ValueError, match="only 2 distinct train problems|only . distinct"):
        GraphLaw(2, 2, 1.0).distinct("train", 5, 0)
    for bad in ({"min_nodes": 0}, {"max_nodes": 5}, {"max_nodes": 25}, {"density": 1.5}):
        with pytest.raises(ValueError, match="allowed"):
            GraphLaw(**bad)  # type: ignore[arg-type]


def test_prompts_say_what_is_judged() -> None:
    task = Colouring([PATH])
    (problem,) = task.problems()
    assert isinstance(task, Task)
    assert problem.id == "3=1-2,2-3"
    assert "edges are: 1-2, 2-3." in problem.prompt
    assert task.verify(problem, "So <answer>1 2 1</answer>").correct
    assert not task.verify(problem, "121").correct
    example = problem.prompt.rpartition("<answer>")[2].removesuffix("</answer>.")
    assert check(PATH, example).canonical == example
    (bare,) = Colouring([PATH], style="bare").problems()
    assert (bare.prompt, bare.raw) == ("3=1-2,2-3:", True)
    tok = tokenizer()
    assert tok.decode(tok(bare.prompt)["input_ids"]) == bare.prompt
    assert task.multiplicity(problem) == 12
    with pytest.raises(ValueError, match="one graph twice"):
        Colouring([PATH, Graph(3, ((1, 2), (2, 3)))])


def test_local_files(tmp_path: Path) -> None:
    path = tmp_path / "graphs.jsonl"
    rows = [{"n": 3, "edges": [[1, 2]]}, {"n": 3, "edges": [[2, 1]]}, {"n": 2, "edges": []}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task("colouring", path)
    assert [p.payload for p in task.problems()] == [Graph(3, ((1, 2),)), Graph(2)]
    (repeat,) = task.left_out  # type: ignore[attr-defined]
    assert str(repeat) == f"{path}, line 2: the graph of {path}, line 1 again"
    (tmp_path / "graphs.csv").write_text('n,edges\n3,"[[1, 2]]"\n')
    assert load_task("colouring", tmp_path / "graphs.csv").problems() == task.problems()[:1]
    for row, said in (
        ({"n": 3}, "no column 'edges'"),
        ({"n": None, "edges": []}, "column 'n' holds null"),
        ({"n": True, "edges": []}, "column 'n' holds true"),
        ({"n": 3, "edges": [[1, 2.5]]}, "column 'edges' holds"),
        ({"n": 3, "edges": [[1, 2, 3]]}, "column 'edges' holds"),
        ({"n": 3, "edges": "1-2"}, "column 'edges' holds"),
        ({"n": 3, "edges": [[1, 4]]}, "edges holds 1-4"),
    ):
        path.write_text("\n" + json.dumps(row) + "\n")
        with pytest.raises(ValueError, match=rf"graphs\.jsonl, line 2: .*{said}"):
            load_task("colouring", path)


def test_a_small_model_is_evaluated(tmp_path: Path) -> None:
    shape = {"hidden": 16, "layers": 1, "heads": 2, "intermediate": 32, "positions": 96}
    model = save(*build(SmallModel(**shape)), tmp_path / "model")
    words = f"evaluate --task colouring --model {model} --style bare --limit 3 --samples 4"
    out = ["--max-tokens", "6", "--resamples", "20", "--out", str(tmp_path / "out")]
    assert main([*words.split(), *out]) == 0
    (table,) = (tmp_path / "out").glob("colouring-*/problems.parquet")
    rows = read_table(table).to_pylist()
    graphs = GraphLaw().distinct("test", 3, 0)
    assert [row["multiplicity"] for row in rows] == [len(brute(g)) for g in graphs]
