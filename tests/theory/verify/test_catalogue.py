"""The catalogue names every statement, and the page of the documentation is what it says today."""

from pathlib import Path

from diffsmooth.cli import main
from diffsmooth.theory.verify import catalogue, run

PAGE = Path(__file__).parents[3] / "docs" / "statements.md"


def test_the_documentation_is_the_catalogue() -> None:
    made = catalogue.markdown(catalogue.statements())
    assert PAGE.read_text(encoding="utf-8") == made, (
        "docs/statements.md is old: diffsmooth verify --list > docs/statements.md"
    )


def test_every_statement_method_and_correction_is_named() -> None:
    found = catalogue.statements()
    assert [s.id for s in found] == list(run.discover())
    page = catalogue.markdown(found)
    for s in found:
        assert f"| {s.id} | " in page
        assert (f"**{s.id}. " in page) == bool(s.correction)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(found) + sum(len(s.methods) for s in found)


def test_a_pipe_in_a_domain_does_not_break_the_table() -> None:
    cells = {line.replace(r"\|", "").count("|") for line in catalogue.markdown(
        catalogue.statements()).splitlines() if line.startswith("| ")}  # fmt: skip
    assert cells == {4, 5}


def test_the_command_prints_the_selected_and_refuses_unknown_ids(capsys) -> None:
    assert main(["verify", "B7", "--list"]) == 0
    out = capsys.readouterr().out
    assert "| B7 | corrected |" in out
    assert "| A2 |" not in out
    assert main(["verify", "Z9", "--list"]) == 2
    assert "Z9" in capsys.readouterr().err
