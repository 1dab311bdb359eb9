"""The version of the code that decides a cell's numbers: a hash of its formulas.

Derived, not raised by hand: the syntax trees of every module that a run's numbers can come from,
without docstrings, comments and layout.  A changed formula makes stored cells stale; a changed
comment does not.  A renamed variable does: a run too many is cheaper than a wrong number read back.
Modules that only show numbers (charts, pages, tables of the map) are left out, and so are the
theory's statements, their checker and the page of the rules, which no run imports.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_SHOWN = (
    "agreement.py", "atlas.py", "charts.py", "cluster.py", "coverage.py", "demo.py", "design.py",
    "figures.py", "findings.py", "report.py", "simplex.py", "simulate.py", "sweep.py",
)  # fmt: skip
_APART = ("statements/", "verify/", "rules/catalogue.py")


@cache
def version() -> str:
    """Hex digest (16 digits) of the formulas of ``theory`` and ``sim`` as they stand on disk."""
    digest = hashlib.sha256()
    for name, file in sorted(sources().items()):
        digest.update(f"{name}\n{outline(file.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:16]


def sources() -> dict[str, Path]:
    """The modules that decide numbers, by a name that does not depend on where they lie."""
    from diffsmooth import theory

    here = Path(__file__).resolve().parent
    roots = {"sim": here, "theory": Path(theory.__file__).resolve().parent}
    found = {}
    for root, folder in roots.items():
        for file in folder.rglob("*.py"):
            inside = file.relative_to(folder)
            if inside.as_posix().startswith(_APART) or (root == "sim" and str(inside) in _SHOWN):
                continue
            found[f"{root}/{inside.as_posix()}"] = file
    return found


def outline(source: str) -> str:
    """The syntax tree of a module as text, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body[0] = ast.Pass()
    return ast.dump(tree)
