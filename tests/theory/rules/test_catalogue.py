"""The page of the rules is what the code says."""

from __future__ import annotations

from pathlib import Path

from diffsmooth.sim.remedies import REMEDIES
from diffsmooth.theory.rules import NAMES, catalogue, rule

PAGE = Path(__file__).parents[3] / "docs" / "rules.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == catalogue.page(), (
        "docs/rules.md is old: python -m diffsmooth.theory.rules.catalogue > docs/rules.md"
    )


def test_every_rule_and_every_remedy_has_its_row() -> None:
    names = {line.split("`")[1] for line in catalogue.page().splitlines() if line[:3] == "| `"}
    assert set(NAMES) <= names
    # Remedies of the simulator that are no rule of their own.
    assert set(REMEDIES) - names == {
        "literal", "adaptive", "two-part-maxrl", "unit", "unit-maxrl",
        "replay", "maxrl-replay", "centred-replay", "three-levers", "unit-replay",
    }  # fmt: skip


def test_a_row_has_all_its_columns() -> None:
    rows = [line for line in catalogue.page().splitlines() if line.startswith("| `")]
    assert {line.count(" | ") for line in rows} == {7}
    assert all(cell.strip() for line in rows for cell in line.strip("| ").split(" | "))


def test_the_level_is_read_off_the_rule() -> None:
    assert {n for n in NAMES if catalogue.level(rule(n)) == "sequence"} == {
        "vanilla", "psr", "nsr", "w-reinforce"
    }  # fmt: skip
    assert {n for n in NAMES if catalogue.level(rule(n)) == "token"} == {"kl", "token"}
