"""One self-contained HTML page: text, tables, figures as data URIs; nothing is loaded from outside.

The look is plain on purpose: it prints in black and white, follows the reader's light or dark
preference and needs no JavaScript.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #999; --soft: #f4f4f2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e3; --paper: #16171a; --line: #666; --soft: #202226; }
}
body { font: 1.05rem/1.55 Georgia, "Times New Roman", serif; color: var(--ink);
  background: var(--paper); max-width: 54rem; margin: 2.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { font-size: 1.3rem; margin-top: 2.8rem; }
h3 { font-size: 1rem; margin: 1.3rem 0 .3rem; } a { color: inherit; }
.statement { border-left: 3px solid var(--line); background: var(--soft);
  padding: .7rem 1rem; overflow-x: auto; }
.display { margin: .45rem 0; } svg.tex { max-width: none; } p.math { margin: .3rem 0; }
.wide { overflow-x: auto; } .source { margin-top: -.6rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
thead th { border-bottom: 2px solid var(--ink); } tbody th { font-weight: 600; }
td:last-child { min-width: 2.5rem; }
figure { margin: 1.2rem 0; } img { max-width: 100%; background: #fff; }
figcaption, footer { font-size: .85rem; } pre { white-space: pre-wrap; }
pre.command { background: var(--soft); padding: .5rem .8rem; }
@media print { body { max-width: none; margin: 0; font-size: 10pt; color: #000; background: #fff; }
  :root { --ink: #000; --paper: #fff; --line: #777; --soft: #fff; }
  section { break-inside: auto; } h2, h3 { break-after: avoid; } tr, figure { break-inside: avoid; }
  .statement, .wide { overflow: visible; } }
"""


def page(title: str, body: Iterable[str], footer: str = "") -> str:
    """A whole HTML document; ``body`` and ``footer`` are HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head><body><main>\n"
        f"<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + f"\n</main><footer><p>{footer}</p></footer></body></html>\n"
    )


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def command(line: str) -> str:
    """A command to copy."""
    return f'<pre class="command">{escape(line)}</pre>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table of plain text; the first cell of a row is its heading."""
    cells = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    title = f"<h3>{escape(caption)}</h3>" if caption else ""
    return (
        f'{title}<div class="wide"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def image(path: Path | str, alt: str, caption: str) -> str:
    """A PNG file, embedded.  Raises FileNotFoundError if it is not there."""
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
