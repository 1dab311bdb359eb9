"""`diffsmooth.theory` costs nothing to import and gives every name its one home."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from diffsmooth import theory


def test_importing_the_package_loads_no_library() -> None:
    code = (
        "import sys, diffsmooth.theory; "
        "print([m for m in ('numpy', 'scipy', 'sympy', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", theory.__all__)
def test_every_name_is_the_object_of_its_module(name: str) -> None:
    home = importlib.import_module(f"diffsmooth.theory.{theory._HOME[name]}")
    assert getattr(theory, name) is getattr(home, name)
    assert name in dir(theory)


def test_types_and_values_agree() -> None:
    """What type checkers are told is what is loaded."""
    tree = ast.parse(Path(str(theory.__file__)).read_text(encoding="utf-8"))
    told = {
        alias.name: node.module.rsplit(".", 1)[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and "diffsmooth" in node.module
        for alias in node.names
    }
    assert told == theory._HOME
    assert sorted(told) == sorted(theory.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="softmax_flow"):
        theory.softmax_flow  # noqa: B018
