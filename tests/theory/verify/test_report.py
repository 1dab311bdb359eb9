"""The page: self-contained, escaped, and with every formula drawn."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from diffsmooth.theory.statements.template import STATEMENT
from diffsmooth.theory.verify import latex, report, run
from diffsmooth.theory.verify.core import Budget, Table

VOID = {"meta", "img", "br", "link", "hr", "path"}


class Nesting(HTMLParser):
    """Fails on a tag that closes what is not open; collects ids, links and sources."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag == "a":
            self.links.append(values["href"] or "")
        self.loads += [v for k, v in attrs if k in ("src", "srcset", "data") and v]
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            assert values.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(*statements: Any) -> str:
    results = tuple(run.run_statement(s) for s in statements)
    return report.to_html_page(run.Run(1.0, Budget(), results))


@pytest.fixture(scope="module")
def page() -> str:
    hostile = replace(
        STATEMENT,
        id="T1",
        title="<script>alert(1)</script> & more",
        limits="a < b",
        latex=r"\begin{nosuch} x \end{nosuch}",
        source="corrected",
        correction="the sign",
        figure=None,
    )
    return page_of(STATEMENT, hostile)


def test_nesting_anchors_and_nothing_loaded_from_outside(page: str) -> None:
    parser = Nesting()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    assert {link.removeprefix("#") for link in parser.links} <= set(parser.ids)
    assert len(parser.loads) == 1  # the template's figure
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parser.loads)
    assert "url(" not in page
    assert "@import" not in page


def test_text_is_escaped_and_unknown_latex_falls_back_to_its_source(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert '<pre class="source-latex">\\begin{nosuch}' in page


def test_it_says_what_was_found(page: str) -> None:
    for word in ("proved", "What was wrong", "Wrong variants", "Limits", "Assumptions"):
        assert word in page
    assert "at q = (1/3, 2/3) the value is -2/81" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_red_is_said_in_words() -> None:
    broken = replace(STATEMENT, claim=STATEMENT.mutants[0].claim, figure=None)
    text = page_of(broken)
    assert "FAILS" in text
    assert "<strong>Counterexample:</strong>" in text


def test_a_figure_that_fails_is_said_on_the_page() -> None:
    def fails(axes: object) -> None:
        raise RuntimeError("no ink")

    assert "could not be drawn" in report.figure(replace(STATEMENT, figure=fails))


def test_a_table_is_shown_and_its_failure_is_said() -> None:
    def fails() -> Table:
        raise RuntimeError("no numbers")

    shown = replace(STATEMENT, table=lambda: Table("Sizes <C>", ("rule", "u'"), (("a&b", "1"),)))
    text = page_of(replace(shown, figure=None))
    assert "Sizes &lt;C&gt;" in text
    assert '<th scope="row">a&amp;b</th><td>1</td>' in text
    assert "could not be computed" in report.numbers(replace(STATEMENT, table=fails))
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        Table("Sizes", ("rule", "u"), (("a",),))


def test_same_run_same_bytes(page: str) -> None:
    def svg(_: int) -> str:
        return report.figure(STATEMENT)

    assert svg(0) == svg(1)


@pytest.mark.parametrize(
    "formula",
    [
        r"\tfrac12 \le x \ge y \iff a \implies b \land c",
        r"\bigl(\lVert x \rVert\bigr)^{\dfrac{1}{2}}",
        r"\operatorname*{argmax}_i \; x_i, \quad \arg\min_j y_j",
        r"\mathrm{KL}(\pi\,\|\,b) = \mathbb{E}_\pi[\log \pi/b]",
        r"\frac{d}{dt} H(q) = -C(1-C)\operatorname{Cov}_q(\log q, q) \text{ for all } t",
    ],
)
def test_usual_latex_is_drawn(formula: str) -> None:
    drawn = latex.svg(formula)
    assert 'fill="currentColor" d="M' in drawn
    (aria,) = re.findall(r'aria-label="([^"]*)"', drawn)
    assert aria


def test_prose_rows_and_environments() -> None:
    prose = latex.to_html(r"For all $x > 0$: a < b.")
    assert prose.count("<svg") == 1
    assert "a &lt; b." in prose
    sentence = latex.to_html("x = y\n\nCollapse needs sampling (A1).")
    assert sentence.count("<svg") == 1
    assert '<p class="math">Collapse needs sampling (A1).</p>' in sentence
    rows = latex.to_html(r"\begin{aligned} a &= b \\ &= c \end{aligned}")
    assert rows.count('<div class="display">') == 2


def test_long_rows_are_folded_at_quads() -> None:
    long = r" \quad ".join([r"\sum_i q_i q_j (q_i - q_j)^2 \geq 0"] * 6)
    widths = [float(w) for w in re.findall(r"width:([\d.]+)em", latex.to_html(long))]
    assert len(widths) > 1
    assert max(widths) <= 46.0


def test_what_cannot_be_set_is_an_error() -> None:
    with pytest.raises(latex.UnrenderableError):
        latex.to_html(r"\nosuchmacro{x}")
