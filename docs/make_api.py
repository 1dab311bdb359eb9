"""Write docs/api.md from the docstrings of the front door: ``python docs/make_api.py``."""

from __future__ import annotations

import inspect
from pathlib import Path

import diffsmooth

PAGE = Path(__file__).parent / "api.md"

_HEAD = """# The front door

`import diffsmooth as ds`: one function a question. Each is a thin call into one floor, loads that
floor when it is called, and is what the command of the same name calls. This page is the output of
`python docs/make_api.py`.
"""


def page() -> str:
    """The page: name, signature and docstring of every public function, in order."""
    parts = [_HEAD]
    for name in diffsmooth.__all__:
        function = getattr(diffsmooth, name)
        signature = str(inspect.signature(function)).replace("'", "")
        text = inspect.cleandoc(function.__doc__ or "").replace("``", "`")
        parts.append(f"## ds.{name}\n\n```python\nds.{name}{signature}\n```\n\n{_plain(text)}\n")
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Sphinx roles as code."""
    import re

    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
