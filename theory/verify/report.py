"""What a run found: as JSON for machines and as one self-contained page for people.

The page loads nothing: formulas are inline SVG, figures are data URIs.  Verdicts are words, so
they survive black-and-white print and a screen reader.
"""

from __future__ import annotations

import base64
import io
import platform
from collections.abc import Iterable
from html import escape
from importlib import metadata
from typing import Any

from diffsmooth.records import page
from diffsmooth.theory.verify.core import Statement
from diffsmooth.theory.verify.latex import UnrenderableError, to_html
from diffsmooth.theory.verify.run import MethodResult, MutantResult, Run, StatementResult

_SOURCES = {"paper": "of the paper", "new": "new here", "corrected": "of the paper, corrected"}


def to_json(run: Run) -> dict[str, Any]:
    """The run as plain data: seconds, and per statement its methods and mutants."""
    return {
        "seconds": round(run.seconds, 3),
        "statements": [
            {
                "id": result.id,
                "title": result.statement.title,
                "source": result.statement.source,
                "methods": [
                    {
                        "name": m.name,
                        "verdict": m.verdict,
                        "domain": m.domain,
                        "seconds": round(m.seconds, 3),
                        "detail": detail_of(m),
                    }
                    for m in result.methods
                ],
                "mutants": [
                    {"name": m.name, "refuted": m.refuted, "by": m.by} for m in result.mutants
                ],
            }
            for result in run.statements
        ],
    }


def detail_of(method: MethodResult) -> str:
    """One line: what the method did, its counterexample, why "undecided" is forgiven, the note."""
    parts = [method.detail]
    if method.counterexample:
        parts.append(f"counterexample: {method.counterexample}")
    if method.verdict == "undecided" and method.optional and method.error is None:
        parts.append(f"optional: {method.optional}")
    if method.note:
        parts.append(f"note: {method.note}")
    return "; ".join(parts)


def to_html_page(run: Run) -> str:
    """The run as one HTML page that reads like a short paper."""
    green = sum(s.green for s in run.statements)
    caught = sum(m.refuted for s in run.statements for m in s.mutants)
    mutants = sum(len(s.mutants) for s in run.statements)
    methods = sum(len(s.methods) for s in run.statements)
    budget = run.budget
    lead = (
        f"{green} of {len(run.statements)} statements hold by all their methods "
        f"({methods} checks); {caught} of {mutants} deliberately wrong variants were refuted. "
        f"{'Deep' if budget.deep else 'Default'} budget, seed {budget.seed}, "
        f"{run.seconds:.1f} s."
    )
    contents = "\n".join(_contents_row(s) for s in run.statements)
    body = [
        page.paragraph(lead),
        _ABOUT,
        _READING,
        _CONTENTS.format(contents=contents),
        *(_section(s) for s in run.statements),
    ]
    return page.page(_TITLE, body, escape(_versions()) + ".")


def _contents_row(result: StatementResult) -> str:
    said = ", ".join(f"{m.name} {_verdict(m)}" for m in result.methods)
    caught = f"{sum(m.refuted for m in result.mutants)}/{len(result.mutants)}"
    return (
        f'<tr><th scope="row"><a href="#{_anchor(result.id)}">{escape(result.id)}</a></th>'
        f"<td>{escape(result.statement.title)}</td><td>{escape(_state(result.green))}</td>"
        f"<td>{escape(said)}</td><td>{caught}</td></tr>"
    )


def _section(result: StatementResult) -> str:
    s = result.statement
    parts = [
        f'<section id="{_anchor(s.id)}"><h2>{escape(s.id)}. {escape(s.title)}</h2>',
        f'<p class="source"><strong>{_state(result.green)}</strong> · {_SOURCES[s.source]} · '
        f"{escape(s.reference)}</p>",
        f'<div class="statement">{formula(s.latex)}</div>',
    ]
    if s.figure is not None:
        parts.append(figure(s))
    if s.table is not None:
        parts.append(numbers(s))
    if s.assumptions:
        parts.append("<h3>Assumptions</h3><ul>" + _items(s.assumptions) + "</ul>")
    if s.correction:
        parts.append(f"<h3>What was wrong</h3><p>{escape(s.correction)}</p>")
    parts += [
        _table("Verdicts", ("method", "verdict", "domain", "what was found", "s"), _methods(result))
    ]
    if result.mutants:
        rows = (_mutant_row(m) for m in result.mutants)
        parts.append(_table("Wrong variants", ("variant", "refuted", "by", "witness"), rows))
    if result.skipped:
        parts.append(f"<p>{result.skipped} more part(s) run under <code>--deep</code>.</p>")
    parts.append(f"<h3>Limits</h3><p>{escape(s.limits)}</p>")
    return "\n".join([*parts, "</section>"])


def _methods(result: StatementResult) -> Iterable[tuple[str, ...]]:
    for m in result.methods:
        detail = escape(m.detail)
        if m.residual is not None and abs(m.residual) != float("inf"):
            detail += f' <span class="residual">[{m.residual:.3g}]</span>'
        if m.counterexample:
            detail += f"<br><strong>Counterexample:</strong> {escape(m.counterexample)}"
        if m.verdict == "undecided" and m.optional and m.error is None:
            detail += f"<br>Optional: {escape(m.optional)}"
        if m.note:
            detail += f'<br><span class="note">Author\'s note: {escape(m.note)}</span>'
        yield escape(m.name), escape(_verdict(m)), _domains(m), detail, f"{m.seconds:.2f}"


def _domains(m: MethodResult) -> str:
    """What the engine decided and on which domain, receipt by receipt, folded if long."""
    if len(m.receipts) == 1 and len(m.domain) < 120:
        return escape(m.domain)
    rows = _items(f"{', '.join(r.decided)}; {r.domain} ({r.cases} compared)" for r in m.receipts)
    count = f"{len(m.receipts)} step{'' if len(m.receipts) == 1 else 's'}"
    summary = f"<summary>{count}: {escape(_shortened(m.domain))}</summary>"
    return f"<details>{summary}<ul>{rows}</ul></details>"


def _shortened(text: str, length: int = 160) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _mutant_row(m: MutantResult) -> tuple[str, ...]:
    witness = m.counterexample or m.detail
    return escape(m.name), "yes" if m.refuted else "NO", escape(m.by), escape(witness)


def _table(caption: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = "".join(f'<th scope="col">{h}</th>' for h in head)
    body = "".join(
        "<tr>"
        + f'<th scope="row">{row[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<h3>{caption}</h3><div class="wide"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def formula(latex: str) -> str:
    """The formula as inline SVG; its source in plain text where mathtext cannot parse it."""
    try:
        return to_html(latex)
    except UnrenderableError:
        return f'<pre class="source-latex">{escape(latex)}</pre>'


def figure(statement: Statement[Any]) -> str:
    """The statement's picture as a data URI; a failure to draw is said on the page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    assert statement.figure is not None
    alt = escape(f"Figure for {statement.id}: {statement.title}", quote=True)
    try:
        with rc_context({"svg.hashsalt": statement.id, "svg.fonttype": "path"}):
            canvas = Figure(figsize=(6.2, 3.6), layout="constrained")
            statement.figure(canvas.add_subplot())
            buffer = io.BytesIO()
            canvas.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    except Exception as error:
        return f"<p><strong>The figure could not be drawn:</strong> {escape(repr(error))}</p>"
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    caption = f"<figcaption>{escape(statement.title)}</figcaption>"
    return f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}">{caption}</figure>'


def numbers(statement: Statement[Any]) -> str:
    """The statement's table; a failure to compute it is said on the page."""
    assert statement.table is not None
    try:
        found = statement.table()
    except Exception as error:
        return f"<p><strong>The table could not be computed:</strong> {escape(repr(error))}</p>"
    return page.table(found.head, found.rows, found.caption)


def _verdict(m: MethodResult) -> str:
    return "error" if m.error is not None else m.verdict


def _state(green: bool) -> str:
    return "holds" if green else "FAILS"


def _anchor(identity: str) -> str:
    return "s-" + "".join(c if c.isalnum() else "-" for c in identity)


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{escape(t)}</li>" for t in texts)


def _versions() -> str:
    names = ("diffsmooth", "numpy", "scipy", "sympy", "z3-solver", "python-flint", "hypothesis")
    found = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


_READING = """<p><b>proved</b>: by sympy, exact arithmetic, an SMT solver or outward-rounded
balls, on the whole domain beside it, which the engine wrote from what it checked (an author's
remark stands apart, as a note). <b>holds</b>: no violation among the instances sampled or
searched; not a proof. <b>refuted</b>: a counterexample is given. <b>undecided</b>: the method could
not tell. A wrong variant is the claim with a deliberate error; a check that passes one is a defect.
Numbers in brackets are the residual, the certified bound or the smallest margin seen.</p>"""

_TITLE = "Diversity collapse and differential smoothing: statements checked by machine"

_ABOUT = """<p>The statements concern <i>Differential Smoothing Mitigates Sharpening and Improves
LLM Reasoning</i> (arXiv 2511.19942): a finite set of trajectories, a base policy <i>b</i>, a
correct set <i>S</i> and an incorrect set <i>F</i>; <i>C</i> is the probability of a correct
answer, <i>q</i> the law of the correct ones, <i>f</i> that of the incorrect ones.</p>"""

_CONTENTS = """<h2 id="contents">Overview</h2>
<div class="wide"><table><thead><tr><th scope="col">id</th><th scope="col">statement</th>
<th scope="col">state</th><th scope="col">methods</th><th scope="col">refuted</th></tr></thead>
<tbody>
{contents}
</tbody></table></div>"""
