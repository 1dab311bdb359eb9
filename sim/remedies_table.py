"""All rules and remedies in one table: what ``diffsmooth.rules()`` shows."""

from __future__ import annotations

from collections.abc import Sequence

from diffsmooth.records import Table
from diffsmooth.records.own import load
from diffsmooth.sim.remedies import REMEDIES, Remedy, remedy_named
from diffsmooth.theory.rules import NAMES, rule

COLUMNS = ("name", "formula", "lever", "reads", "parameter", "strengths", "citation", "is")


def table(own: Sequence[str] = ()) -> Table:
    """A row a name: formula, lever, what it reads, what it is tuned over, where it is from.

    ``is``: "rule" (from a group to advantages, in Python and in a training file), "remedy" (in the
    simulator and the map: a rule with how it enters the update), or both.
    """
    rows = []
    for name in dict.fromkeys((*REMEDIES, *NAMES, *own)):
        remedy = remedy_named(name) if name in REMEDIES or name in own else None
        made = rule(name) if name in NAMES or (name in own and _is_rule(name)) else None
        source = remedy if remedy is not None else made
        assert source is not None
        reads = ["rewards"]
        reads += ["log-probs"] if source.needs_logps else []
        reads += ["reference log-probs"] if source.needs_reference else []
        reads += ["classes"] if source.needs_classes else []
        reads += ["tokens"] if source.token_level else []
        memory = remedy is not None and any(u.replay for u in remedy.updates())
        reads += ["answers seen before"] if memory else []
        rows.append(
            {
                "name": name,
                "formula": source.formula,
                "lever": f"{source.part}, memory" if memory else source.part,
                "reads": reads,
                "parameter": "" if remedy is None else remedy.parameter,
                "strengths": [] if remedy is None else [float(s) for s in remedy.strengths],
                "citation": source.citation,
                "is": [k for k, v in (("rule", made), ("remedy", remedy)) if v is not None],
            }
        )
    return Table.of(rows, COLUMNS)


def _is_rule(spec: str) -> bool:
    """Is the object of a user's file a rule, and not a remedy ready made?"""
    return not isinstance(load(spec, "remedy"), Remedy)
