"""A statement's LaTeX as inline SVG: readable without JavaScript, fonts or a network.

matplotlib's mathtext sets the formula; every glyph becomes part of one path drawn in
``currentColor``, so the formula follows dark mode and print.  mathtext knows a subset of LaTeX;
the usual rest of the vocabulary is translated to it, and what still does not parse is reported by
``Unrenderable`` (the page then shows the source instead).
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

_SIZE = 100.0  # design size of a glyph outline; lengths are given in em


class UnrenderableError(ValueError):
    """mathtext cannot set this formula."""


#: LaTeX that mathtext lacks, in terms of what it has.
_TRANSLATE: tuple[tuple[str, str], ...] = (
    (r"\\(?:tfrac|dfrac|cfrac)(?![A-Za-z])", r"\\frac"),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
    (r"\\le(?![A-Za-z])", r"\\leq"),
    (r"\\ge(?![A-Za-z])", r"\\geq"),
    (r"\\(?:iff|Longleftrightarrow)(?![A-Za-z])", r"\\;\\Leftrightarrow\\;"),
    (r"\\implies(?![A-Za-z])", r"\\;\\Rightarrow\\;"),
    (r"\\land(?![A-Za-z])", r"\\wedge"),
    (r"\\lor(?![A-Za-z])", r"\\vee"),
    (r"\\[lr]vert(?![A-Za-z])", r"|"),
    (r"\\[lr]Vert(?![A-Za-z])", r"\\|"),
    (r"\\(?:big|Big|bigg|Bigg)[lrm]?(?![A-Za-z])", r""),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\(argmax|argmin)(?![A-Za-z])", r"\\operatorname{\1}"),
    (r"\\arg\s*\\max(?![A-Za-z])", r"\\operatorname{argmax}"),
    (r"\\arg\s*\\min(?![A-Za-z])", r"\\operatorname{argmin}"),
    (r"\\(?:displaystyle|textstyle|limits|nolimits|nonumber|notag)(?![A-Za-z])", r""),
    (r"\\(?:mathop|mbox|textrm|textnormal)\{", r"\\mathrm{"),
    (r"\\(?:lnot)(?![A-Za-z])", r"\\neg"),
    (r"\\neg(?![A-Za-z])", r"¬"),
    (r"\\middle\s*\|", r"|"),
    (r"\\(?:varnothing)(?![A-Za-z])", r"\\emptyset"),
)
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\{(?:aligned|align\*?|gathered|gather\*?|equation\*?|split)\}"
)
_DISPLAY = re.compile(r"^\s*(?:\\\[|\$\$)?(.*?)(?:\\\]|\$\$)?\s*$", re.DOTALL)


def to_html(latex: str) -> str:
    """Set ``latex`` as HTML: prose with ``$...$`` inside, or display formulas, a ``\\\\`` a line.

    Raises ``UnrenderableError`` when mathtext cannot parse a formula.
    """
    blocks = [b for b in re.split(r"\n\s*\n", latex.strip()) if b.strip()]
    return "\n".join(_block(b) for b in blocks)


def _block(text: str) -> str:
    match = _DISPLAY.match(text)
    inner = match.group(1) if match else text
    if re.search(r"(?<!\\)\$", inner) or _is_prose(inner):
        return f'<p class="math">{_prose(inner)}</p>'
    rows = re.split(r"\\\\(?:\[[^\]]*\])?", _ENVIRONMENT.sub("", inner))
    lines = [svg(line) for row in rows for line in _fold(row) if line.strip()]
    return "".join(f'<div class="display">{line}</div>' for line in lines)


def _is_prose(text: str) -> bool:
    """A sentence without any formula: words, and nothing that only mathematics uses."""
    words = re.findall(r"[A-Za-z]{2,}", text)
    return len(words) >= 3 and not re.search(r"[\\^_=<>{}]", text)


def _prose(text: str) -> str:
    parts = re.split(r"(?<!\\)\$\$?", text)
    return "".join(
        svg(part) if i % 2 else escape(part.replace("\\\\", " ")) for i, part in enumerate(parts)
    )


def _fold(row: str, width: float = 46.0) -> list[str]:
    """Break a row wider than the page (em) at ``\\quad`` between its parts."""
    if not row.strip() or _extent(row)[2] <= width:
        return [row]
    parts = [p for p in re.split(r"\\q?quad(?![A-Za-z])", row) if p.strip()]
    lines: list[str] = []
    for part in parts:
        joined = rf"{lines[-1]} \quad {part}" if lines else part
        try:
            fits = bool(lines) and _extent(joined)[2] <= width
        except UnrenderableError:
            return [row]  # a \quad inside braces: leave the row as it is
        if fits:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines


def svg(formula: str) -> str:
    """One formula as an inline ``<svg>`` scaled in em, with its source as accessible name."""
    path, (x0, y0, width, height, depth) = _outline(formula)
    return (
        f'<svg class="tex" role="img" aria-label="{escape(formula.strip(), quote=True)}" '
        f'viewBox="{x0:.1f} {y0:.1f} {width * _SIZE:.1f} {height * _SIZE:.1f}" '
        f'style="width:{width:.3f}em;height:{height:.3f}em;vertical-align:{-depth:.3f}em">'
        f'<path fill="currentColor" d="{path}"/></svg>'
    )


def _extent(formula: str) -> tuple[float, float, float, float, float]:
    return _outline(formula)[1]


def _outline(formula: str) -> tuple[str, tuple[float, float, float, float, float]]:
    """SVG path data and (x0, y0, width in em, height in em, depth below the baseline in em)."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    source = formula.replace("&", " ").strip()
    for pattern, replacement in _TRANSLATE:
        source = re.sub(pattern, replacement, source)
    source = " ".join(source.split()).rstrip("\\").strip()
    font = FontProperties(math_fontfamily="stix")
    try:
        text: Any = TextPath((0, 0), f"${source}$", size=_SIZE, prop=font)
    except (ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines()
        raise UnrenderableError(f"{formula!r}: {reason[-1] if reason else error}") from error
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    pieces = []
    for vertices, code in text.iter_segments(simplify=False, curves=True):
        if code == Path.CLOSEPOLY:
            pieces.append("Z")
            continue
        points = vertices.reshape(-1, 2)
        pieces.append(letters[code] + " ".join(f"{x:.1f} {-y:.1f}" for x, y in points))
    box = text.get_extents()
    if not pieces:
        raise UnrenderableError(f"{formula!r} sets nothing")
    margin = 2.0
    extent = (
        float(box.x0) - margin,
        -float(box.y1) - margin,
        float(box.width + 2 * margin) / _SIZE,
        float(box.height + 2 * margin) / _SIZE,
        float(margin - box.y0) / _SIZE,
    )
    return "".join(pieces), extent
