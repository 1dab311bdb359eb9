"""docs/theory.md, the catalogue and the code speak of the same statements."""

from __future__ import annotations

import re
from pathlib import Path

from diffsmooth.theory.verify.run import discover

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
_ITEM = re.compile(r"^- \*\*([A-N]\d+)\*\*", re.MULTILINE)


def ids(text: str) -> list[str]:
    return _ITEM.findall(text)


def test_the_page_has_every_statement_of_the_catalogue_once() -> None:
    assert sorted(ids(PAGE)) == sorted(discover())


def test_every_id_that_the_code_cites_stands_on_the_page() -> None:
    known = set(ids(PAGE))
    unknown: dict[str, set[str]] = {}
    for folder in ("theory", "sim", "llm", "cli", "records", "benchmarks", "docs", "notebooks"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix not in (".py", ".md", ".ipynb", ".yaml"):
                continue
            text = file.read_text(encoding="utf-8")
            for cited in re.findall(r"theory\.md,? ((?:[A-N]\d+(?:, | and )?)+)", text):
                wrong = set(re.findall(r"[A-N]\d+", cited)) - known
                if wrong:
                    unknown.setdefault(str(file.relative_to(ROOT)), set()).update(wrong)
    assert not unknown
