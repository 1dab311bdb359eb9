"""The command ``diffsmooth``: words to calls, no logic.

Every verb is a frozen dataclass with a function ``run(config) -> exit status`` in a file of its
own; the same object is used from Python and notebooks.  Only the verb that was named is imported,
so that ``--help`` stays instant.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Sequence

#: verb -> (class of its configuration, one line of help).
VERBS: dict[str, tuple[str, str]] = {
    "verify": ("Verify", "check the theorems: methods, certificates, mutants"),
    "simulate": ("Simulate", "run one regime with several remedies"),
    "atlas": ("Atlas", "map where each remedy helps and where it fails"),
    "train": ("Train", "fine-tune a language model from a configuration file"),
    "evaluate": (
        "Evaluate",
        "sample a model: pass@k and diversity with intervals; compare two runs",
    ),
    "demo": ("Demo", "a theorem, a collapse and a small language model, in one report"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 a check failed, 2 bad input)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from diffsmooth import __version__

        print(f"diffsmooth {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return _fail(f"unknown verb {verb!r}{hint} (verbs: {', '.join(VERBS)})")
    return _run(verb, rest)


def _run(verb: str, rest: list[str]) -> int:
    import contextlib
    import io

    import tyro

    from diffsmooth.cli._stop import stoppable

    if twice := _given_twice(rest):
        return _fail(f"{verb}: {twice} is given twice; several values follow one {twice}")
    module = importlib.import_module(f"diffsmooth.cli.{verb}")
    config_type = getattr(module, VERBS[verb][0])
    try:
        # tyro prints what a nested dataclass refuses even without console outputs.
        with contextlib.redirect_stderr(io.StringIO()):
            config = tyro.cli(
                config_type, args=rest, prog=f"diffsmooth {verb}", console_outputs=_wants_help(rest)
            )
    except SystemExit as error:
        if error.code in (0, None):
            return 0
        return _fail(f"{verb}: {_argument_error(config_type, rest, verb)}")
    except (ValueError, TypeError) as error:
        # A frozen dataclass checks its own fields.
        return _fail(f"{verb}: {error}")
    try:
        with stoppable():
            return int(module.run(config))
    except (ValueError, TypeError, FileNotFoundError, IsADirectoryError, ImportError) as error:
        if os.environ.get("DIFFSMOOTH_TRACEBACK"):
            raise
        return _fail(f"{verb}: {error}")
    except KeyboardInterrupt:
        print(
            "interrupted; finished parts are kept, run the same command to go on", file=sys.stderr
        )
        return 130


def _given_twice(rest: list[str]) -> str | None:
    """The first option that comes twice: the parser would drop what the first one said."""
    seen = set()
    for word in rest:
        name = word.partition("=")[0].replace("_", "-")
        if re.fullmatch("--[a-zA-Z][a-zA-Z0-9.-]*", name):
            if name in seen:
                return name
            seen.add(name)
    return None


def _wants_help(rest: list[str]) -> bool:
    return any(word in ("-h", "--help") for word in rest)


def _argument_error(config_type: type, rest: list[str], verb: str) -> str:
    """tyro's message, in one line."""
    import contextlib
    import io

    import tyro

    text = io.StringIO()
    with contextlib.redirect_stderr(text), contextlib.suppress(SystemExit):
        tyro.cli(config_type, args=rest, prog=f"diffsmooth {verb}")
    frame = "╭╮╰╯│─┌┐└┘|"
    lines = [line.strip().strip(frame).strip() for line in text.getvalue().splitlines()]
    lines = [line for line in lines if line.strip("-─ ")]
    lines = [line for line in lines if not line.startswith("For full helptext")]
    return " ".join(lines) or "bad arguments"


def _fail(message: str) -> int:
    line = " ".join(message.split())
    print(f"diffsmooth: {line}", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in VERBS.items())
    return (
        "usage: diffsmooth VERB [OPTIONS]\n\n"
        "Diversity collapse in RL fine-tuning: checked, simulated, trained.\n\n"
        f"{verbs}\n\n"
        "diffsmooth VERB --help shows the options of a verb."
    )
