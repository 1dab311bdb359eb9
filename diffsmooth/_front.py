"""The front door: one function a question, each a thin call into one floor.

Everything heavy is imported inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from diffsmooth.llm.results import Comparison, Evaluated
    from diffsmooth.records import Table
    from diffsmooth.sim.regimes import Regime
    from diffsmooth.sim.remedies import Remedy
    from diffsmooth.sim.simulate import Simulation
    from diffsmooth.theory.rules import Rule
    from diffsmooth.theory.verify.shown import Report


def advantages(
    rule: str | Rule,
    reward: Any,
    correct: Any,
    group: Any,
    logps: Any = None,
    *,
    mask: Any = None,
    lengths: Any = None,
    classes: Any = None,
    ref_logps: Any = None,
    **parameters: Any,
) -> Any:
    """Advantages of B answers to prompts under a rule, in the library and type that was given.

    ``rule``: a name of :func:`rules` that stands for a rule, or a ``Rule``.  ``reward`` (B,),
    ``correct`` (B,) bool, ``group`` (B,) integer ids of the prompts, ``logps`` (B,) log-probs of
    whole answers in nats, or (B, T) of tokens with ``mask`` (B, T) bool.  ``lengths`` (B,),
    ``classes`` (B,) and ``ref_logps`` (of the shape of ``logps``) where a rule reads them.
    Lists are taken as NumPy arrays.  ``parameters`` replace the rule's own, such as
    ``g_correct=0.1``.  Returns (B,), or (B, T) for a rule of tokens.

    Raises ValueError, naming the argument, on wrong shapes or values, an unknown rule or parameter,
    or a missing array that the rule reads; TypeError on arrays of different libraries.
    Source: theory.md, section "Rules"; each rule's ``citation``.
    """
    from diffsmooth.theory import rules as library

    given = {
        "reward": reward,
        "correct": correct,
        "group": group,
        "logps": logps,
        "mask": mask,
        "lengths": lengths,
        "classes": classes,
        "ref_logps": ref_logps,
    }
    batch = library.GroupBatch(**{name: _array(name, value) for name, value in given.items()})
    if isinstance(rule, str):
        return library.rule(rule, **parameters)(batch)
    if parameters:
        raise ValueError(
            f"{', '.join(parameters)}: parameters go with a rule's name; a Rule has its own"
        )
    return rule(batch)


def _array(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        import numpy as np

        number = name in ("reward", "logps", "ref_logps")
        return np.asarray(value, dtype=np.float64 if number else None)
    return value


def rules(*own: str) -> Table:
    """Every rule and remedy by name: formula, lever, what it reads, strengths tried, citation.

    ``own``: remedies of the user's files, ``path/to/file.py:Name``, to be listed too.
    ``lever`` is where it acts: across prompts, within a prompt, or both (theory.md E1, E2).
    """
    from diffsmooth.sim.remedies_table import table

    return table(own)


def verify(*ids: str, deep: bool = False, seed: int = 0, jobs: int = 1) -> Report:
    """Check statements of the theory by all their methods, and refute their mutants.

    ``ids``: such as "A2", a family ("B7" also means B7.ii), a letter, or the path of a file of your
    own that exports ``STATEMENT``; all if none is given.
    The report is true where everything holds (``report.green``) and shows itself in a notebook.

    Raises ValueError for an id that does not exist (naming the nearest) or ``jobs < 1``;
    ImportError without the extra ``verify``.
    """
    from diffsmooth.theory.verify.shown import check

    return check(ids, deep=deep, seed=seed, jobs=jobs)


def simulate(
    regime: str | Regime = "bandit",
    *,
    remedies: Sequence[str | Remedy | Rule] = (),
    seeds: int = 32,
    survive: float | None = None,
    dynamics: Literal["sampled", "exact", "flow", "natural", "response"] = "sampled",
    device: str | None = None,
    out: str | PathLike[str] | None = None,
    **parameters: float,
) -> Simulation:
    """Run one regime with several remedies, each tuned alike, and compare them with GRPO.

    ``regime``: a family (bandit, multiplicity, strategies, tree, countdown, maze, noisy) or a cell
    of its sweep ("bandit/7"); ``parameters`` replace the regime's own (``solutions=4``), and
    ``survive`` the chance that a solution still passes at test.  ``remedies``: names of
    :func:`rules` that are in the map, ``path/to/file.py:Name``, or objects; all where none is
    given.  ``seeds``: independent problem
    sets; the even ones tune, the odd ones compare.  ``out``: a folder to keep the tables in, where
    a finished run is found again; without it nothing is written.

    Raises ValueError on an unknown name or parameter, or fewer than 4 seeds.
    """
    from diffsmooth.sim.simulate import simulate as run

    if survive is not None:
        parameters["survive"] = survive
    return run(
        regime,
        remedies,
        seeds=seeds,
        dynamics=dynamics,
        device=device,
        out=out,
        parameters=parameters,
    )


def atlas() -> Table:
    """The shipped map: a row for every cell, match and remedy (``diffsmooth atlas`` makes it).

    What was run, and what the test is in each ``link``: docs/atlas.md.
    """
    from diffsmooth.sim.shipped import atlas as shipped

    return shipped()


def train(config: str | PathLike[str], *, again: bool = False) -> Any:
    """Fine-tune as a YAML file says (or a shipped configuration, "small/grpo"); returns the folder.

    A finished run is not run again unless ``again``; one that was killed goes on where it was.
    Raises FileNotFoundError or ValueError that name the file and the key.
    """
    from diffsmooth.llm.launch import train as run

    return run(config, again=again)


def evaluate(model: str, **settings: Any) -> Evaluated:
    """Sample a model on a task: pass@k for every k and diversity, with intervals over problems.

    ``settings``: fields of :class:`diffsmooth.llm.evaluation.Evaluation` and of its ``Sampling``
    (``samples``, ``temperature``, ``max_tokens``, ...).  Every sample is kept in the folder
    ``out``; a killed run goes on when the same call is made.  Raises ValueError on an unknown
    setting.
    """
    from diffsmooth.llm.results import evaluated

    return evaluated(model, settings)


def compare(
    baseline: str | PathLike[str] | Evaluated,
    new: str | PathLike[str] | Evaluated,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Two evaluations of the same problems: paired differences with intervals, problem by problem.

    Takes results of :func:`evaluate` or their folders.  Raises ValueError unless both answer the
    same problems, sampled alike.
    """
    from diffsmooth.llm.results import compared

    return compared(baseline, new, resamples=resamples, confidence=confidence, seed=seed)
