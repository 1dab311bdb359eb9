"""The README: its code runs, its commands are commands, its links lead somewhere."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import tyro

from diffsmooth.cli import VERBS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[str]:
    """Lines of fenced blocks that call the command, without comments."""
    lines = [
        line.split("#")[0].strip()
        for kind in ("", "sh", "bash", "console")
        for block in blocks(page, kind)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line.startswith("diffsmooth ")]


@pytest.mark.slow
def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks(ROOT / "README.md", "python")
    assert "import diffsmooth as ds" in found[0]
    for block in found:
        exec(compile(block, "README.md", "exec"), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_its_commands_are_commands(page: Path) -> None:
    for line in commands(page):
        _, verb, *rest = shlex.split(line)
        if verb.startswith("VERB"):
            continue
        assert verb in VERBS, line
        if any(word.startswith(("<", "{", "[")) or word == "..." for word in rest):
            continue
        kind = getattr(importlib.import_module(f"diffsmooth.cli.{verb}"), VERBS[verb][0])
        try:
            tyro.cli(kind, args=rest)
        except SystemExit as error:
            raise AssertionError(f"{page.name}: {line}") from error


def test_the_readme_has_commands() -> None:
    assert len(commands(ROOT / "README.md")) > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
