"""What users bring in a file of their own: ``path/to/file.py:Name`` is an object of that file.

One spelling everywhere: remedies and rules, regimes, tasks.  Worker processes load the file anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any


def is_own(spec: str) -> bool:
    """Does the text name an object of a file?"""
    path, colon, name = spec.rpartition(":")
    return bool(colon) and path.endswith(".py") and name.isidentifier()


def load(spec: str, what: str) -> Any:
    """The object that ``path/to/file.py:Name`` names; ``what`` it should be, for messages.

    Raises ValueError for another spelling, a file that cannot be run (with the line), or one
    without that name; FileNotFoundError where there is no such file.
    """
    if not is_own(spec):
        raise ValueError(f"{what} is {spec!r}; allowed: path/to/file.py:Name")
    text, _, name = spec.rpartition(":")
    path = Path(text)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} file {path}")
    module = _module(str(path.resolve()), fingerprint(spec))
    found = getattr(module, name, None)
    if found is None:
        raise ValueError(f"{path} has no {what} {name!r}")
    return found


def fingerprint(spec: str) -> str:
    """Hex digest of the file that ``spec`` names, whatever stands behind the file's name."""
    path = Path(spec.partition(".py:")[0] + ".py")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@lru_cache(maxsize=64)
def _module(path: str, digest: str) -> Any:
    """One module a file as it stands: an edited file is loaded again."""
    name = f"_diffsmooth_own_{digest}_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        sys.modules.pop(name, None)
        raise ValueError(f"{path}, line {error.lineno}: no Python: {error.msg}") from error
    except Exception as error:
        sys.modules.pop(name, None)
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if f.filename == path]
        where = f", line {lines[-1]}" if lines else ""
        raise ValueError(f"{path}{where}: {type(error).__name__}: {error}") from error
    return module
