"""The demo's parts: a finished one is not run again, a changed theorem is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffsmooth.llm import demo
from diffsmooth.theory.verify import report
from diffsmooth.theory.verify import run as verifier


def test_theorems_are_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    calls: list[tuple[str, ...]] = []

    def checked(wanted: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(tuple(wanted))
        return SimpleNamespace(statements=(), green=True)

    monkeypatch.setattr(report, "to_json", lambda found: {"statements": len(calls)})
    monkeypatch.setattr(report, "to_html_page", lambda found: "")
    monkeypatch.setattr(demo, "_theorem_figure", lambda out: out)
    monkeypatch.setattr(verifier, "verify", checked)
    monkeypatch.setattr(demo, "STATEMENTS", ("N1",))
    assert demo._verify(tmp_path, 1)
    written = (tmp_path / "verify.json").read_bytes()
    assert demo._verify(tmp_path, 1)
    assert calls == [("N1",)]
    assert (tmp_path / "verify.json").read_bytes() == written
    assert "as found before" in capsys.readouterr().out
    monkeypatch.setattr(demo, "_sources_of_theory", lambda: "changed")
    assert demo._verify(tmp_path, 1)
    assert len(calls) == 2
    # Killed before the end of the part: no note, so it is run again.
    (tmp_path / "verify_run.json").unlink()
    assert demo._verify(tmp_path, 1)
    assert len(calls) == 3
