"""The command: help at once, bad input in one line with status 2."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffsmooth.cli import VERBS, main

HEAVY = {"torch", "sympy", "scipy.stats", "z3", "flint", "hypothesis", "matplotlib", "trl",
         "transformers", "pandas", "numba", "datasets"}  # fmt: skip


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffsmooth.cli", *arguments], capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_help_names_every_verb() -> None:
    out = call("--help")
    assert out.returncode == 0
    for verb in VERBS:
        assert verb in out.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    out = call(verb, "--help")
    assert out.returncode == 0, out.stderr
    assert f"diffsmooth {verb}" in out.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_loads_nothing_heavy(verb: str) -> None:
    """Speed of --help, without a clock: it must not import what takes seconds."""
    code = (
        "import sys, diffsmooth.cli as c;"
        f"c.main([{verb!r}, '--help']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(out.stderr.split())


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["simulte"], "did you mean 'simulate'"),
        (["verify", "--depth", "3"], "depth"),
        (["demo", "--seeds", "many"], "many"),
    ],
)
def test_bad_input_is_one_line_and_status_two(arguments: list[str], word: str) -> None:
    out = call(*arguments)
    assert out.returncode == 2
    lines = out.stderr.strip().splitlines()
    assert len(lines) == 1, out.stderr
    assert lines[0].startswith("diffsmooth:")
    assert word in lines[0]


def test_no_verb_is_bad_input_and_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: diffsmooth" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("diffsmooth ")
