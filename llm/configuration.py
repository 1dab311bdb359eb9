"""The whole configuration of a training run: frozen dataclasses, read strictly from YAML.

The same objects come from Python, a notebook or a file.  A file may ``extend`` another one beside
it or a shipped one (``extends: paper/math-1.5b-ds``), so that a baseline says only what differs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffsmooth import records
from diffsmooth.llm.engines import _strict, _yaml
from diffsmooth.llm.engines._adaptive import Adaptive, check_adaptive_term
from diffsmooth.llm.engines._loss import KLCov, SimKO
from diffsmooth.llm.engines._options import RESERVED, check_rule, check_trl
from diffsmooth.llm.engines._strict import bounded, check_finite
from diffsmooth.llm.small import Pretraining, SmallModel
from diffsmooth.llm.tasks.countdown_data import Generator

if TYPE_CHECKING:
    from diffsmooth.theory.rules import Rule, SmoothingTerm

ConfigError = _strict.ConfigError


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters instead of full fine-tuning (``peft``)."""

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"

    def __post_init__(self) -> None:
        bounded(self, "rank", "alpha", least=1)
        bounded(self, "dropout", least=0, below=1)


@dataclass(frozen=True)
class Model:
    """Either ``path`` (hub name or folder) or ``small`` (made here and pre-trained here).

    ``dtype`` and ``attention`` are those of the loaded weights and of the forward pass; ``None``:
    the attention that transformers chooses.
    """

    path: str | None = None
    small: SmallModel | None = None
    pretraining: Pretraining = field(default_factory=Pretraining)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: str | None = None
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.small is None):
            raise ValueError("give exactly one of path (hub name or folder) and small (made here)")
        if self.path is not None and not self.path.strip():
            raise ConfigError("path: is empty; give a folder or a hub name")

    @property
    def source(self) -> str | None:
        """``path`` as the libraries can open it: ``~`` is the home folder."""
        return None if self.path is None else os.path.expanduser(self.path)


@dataclass(frozen=True)
class Data:
    """The task and its training problems (see ``llm/tasks/registry.py`` for the names).

    ``problems``: how many to draw (CountDown without ``data``), else how many the data must hold,
    if it is given.
    """

    task: str = "countdown"
    data: str | None = None
    problems: int | None = None
    style: Literal["tags", "bare"] = "tags"
    form: Literal["ac", "written"] = "ac"
    generator: Generator = field(default_factory=Generator)
    seed: int = 0

    def __post_init__(self) -> None:
        bounded(self, "problems", least=1)
        bounded(self, "seed", least=0)


@dataclass(frozen=True)
class RuleChoice:
    """A rule by its name with its parameters; ``gamma: adaptive`` lets C5 set g_correct."""

    name: str = "grpo"
    parameters: dict[str, Any] = field(default_factory=dict)
    gamma: Literal["fixed", "adaptive"] = "fixed"
    adaptive: Adaptive = field(default_factory=Adaptive)
    base: Literal["engine", "rule"] = "engine"
    clip_cov: float = 0.0
    kl_cov: KLCov | None = None
    simko: SimKO | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.clip_cov <= 1.0:
            raise ValueError(f"clip_cov is {self.clip_cov}; it must lie in [0, 1]")
        check_rule(self.name, self.parameters)
        self.build()
        if self.gamma == "adaptive":
            check_adaptive_term(self.term)

    def build(self) -> Rule | None:
        """The rule; ``None`` for plain GRPO as the engine computes it.  Raises ``ValueError``."""
        from diffsmooth.theory.rules import rule

        built = rule(self.name, **self.parameters)
        return None if self.name == "grpo" and self.base == "engine" else built

    @property
    def term(self) -> SmoothingTerm | None:
        """What the rule adds to its base; ``None`` for a rule that does not smooth."""
        from diffsmooth.theory.rules import Smoothed

        built = self.build()
        return built.term if isinstance(built, Smoothed) else None


@dataclass(frozen=True)
class Optimisation:
    """One step of the *generation* loop: ``prompts`` prompts, ``group`` answers to each.

    ``updates`` optimiser steps are made with these answers (1: on-policy); ``micro_batch`` answers
    go through a device at once.  Give ``steps`` (optimiser steps) or ``epochs``.
    """

    steps: int | None = None
    epochs: float | None = None
    prompts: int = 16
    group: int = 16
    updates: int = 1
    micro_batch: int = 256
    learning_rate: float = 3e-4
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    beta: float = 0.0
    epsilon: float = 0.2
    epsilon_high: float | None = None
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of steps and epochs")
        bounded(self, "steps", "prompts", "updates", "micro_batch", least=1)
        bounded(self, "epochs", "learning_rate", above=0)
        bounded(self, "group", least=2)  # one answer alone is compared with nothing
        bounded(
            self, "warmup_steps", "weight_decay", "max_grad_norm", "beta", "epsilon",
            "epsilon_high", least=0,
        )  # fmt: skip
        if self.warmup_steps and self.schedule == "constant":
            raise ConfigError(
                "warmup_steps: schedule constant does not read it; use constant_with_warmup"
            )

    def accumulation(self, processes: int) -> int:
        """Gradient accumulation steps.  Raises ``ValueError`` where the numbers do not divide."""
        answers = self.prompts * self.group
        share = processes * self.updates * self.micro_batch
        if answers % share:
            raise ValueError(
                f"prompts x group = {answers} answers do not divide by processes x updates x "
                f"micro_batch = {processes} x {self.updates} x {self.micro_batch}"
            )
        return answers // share


@dataclass(frozen=True)
class Generation:
    """How answers are drawn; ``small``: the lean sampler of ``llm/small.py`` (CPU).

    A prompt of more than ``max_prompt_length`` tokens is refused before anything is drawn.
    ``top_k``, ``min_p`` and ``repetition_penalty`` are fields of ``trl``.
    """

    engine: Literal["small", "transformers", "vllm-colocate", "vllm-server"] = "transformers"
    max_prompt_length: int = 512
    max_completion_length: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    vllm_memory: float = 0.3
    vllm_tensor_parallel: int = 1

    def __post_init__(self) -> None:
        bounded(self, "temperature", above=0)
        bounded(self, "top_p", "vllm_memory", above=0, most=1)
        bounded(self, "max_prompt_length", "max_completion_length", "vllm_tensor_parallel", least=1)
        if self.engine != "vllm-colocate":
            for name, plain in (("vllm_memory", 0.3), ("vllm_tensor_parallel", 1)):
                if getattr(self, name) != plain:
                    raise ConfigError(
                        f"{name}: generation.engine {self.engine} does not read it; only "
                        "vllm-colocate does (a server has settings of its own)"
                    )


@dataclass(frozen=True)
class Checkpoints:
    """A checkpoint ``every`` so many optimiser steps (0: none); ``keep`` the newest."""

    every: int = 0
    keep: int = 2

    def __post_init__(self) -> None:
        bounded(self, "every", least=0)
        bounded(self, "keep", least=1)


@dataclass(frozen=True)
class Hardware:
    """``processes`` ranks; more than one starts ``accelerate launch`` with the file ``accelerate``
    (a name in ``configs/accelerate`` or a path).

    ``precision`` is that of the arithmetic (autocast); the weights keep ``model.dtype``, and with
    learning rates of 1e-6 that must be float32: a bfloat16 weight would not move.
    """

    device: Literal["cpu", "cuda"] = "cuda"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    processes: int = 1
    accelerate: str | None = None
    gradient_checkpointing: bool = True
    memory_gib: float = 80.0

    def __post_init__(self) -> None:
        bounded(self, "processes", least=1)
        bounded(self, "memory_gib", above=0)


@dataclass(frozen=True)
class Training:
    """A whole run.  ``trl`` holds any further field of ``trl.GRPOConfig`` by its own name."""

    name: str
    model: Model
    data: Data = field(default_factory=Data)
    rule: RuleChoice = field(default_factory=RuleChoice)
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(steps=300))
    generation: Generation = field(default_factory=Generation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    hardware: Hardware = field(default_factory=Hardware)
    trl: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    output: str = "runs"

    def __post_init__(self) -> None:
        try:
            self.optimisation.accumulation(self.hardware.processes)
        except ValueError as error:
            raise ConfigError(f"optimisation: {error}") from error
        bounded(self, "seed", least=0, below=2**32)
        if not self.name.strip() or self.name in (".", "..") or set(self.name) & set("/\\"):
            raise ConfigError(f"name: is {self.name!r}; it must be usable as the name of a folder")
        check_finite(self.trl, "trl")
        for name in self.trl:
            if name in RESERVED:
                raise ConfigError(f"trl.{name}: is set by a key of its own: {RESERVED[name]}")
        if self.data.problems is not None:
            self.check_problems(self.data.problems)
        built = self.rule.build()
        if built is not None and built.needs_reference and self.optimisation.beta == 0:
            raise ConfigError(
                f"rule.name: {self.rule.name} reads a reference model's log-probs, which TRL has "
                "only with optimisation.beta > 0"
            )
        if (
            self.generation.engine == "small"
            and self.model.small is None
            and not _is_folder(self.model.source)
        ):
            raise ConfigError("generation.engine: small needs model.small or a model folder")

    def check_problems(self, found: int) -> None:
        """Raise :class:`ConfigError` unless ``found`` problems are enough for one step."""
        prompts = self.optimisation.prompts
        if found < prompts:
            raise ConfigError(
                f"data.problems: {found} problem{'s' if found != 1 else ''}, but a step takes "
                f"{prompts} different prompts (optimisation.prompts), so that no step could be made"
            )

    @property
    def root(self) -> Path:
        """The folder of all runs: ``output``, with ``~`` as the home folder."""
        return Path(self.output).expanduser()

    def canonical_run(self) -> dict[str, Any]:
        """The run for a hash: all but what it is called and where it lies."""
        what: dict[str, Any] = records.canonical(self)
        return what | {"output": "", "name": ""}

    @property
    def folder(self) -> Path:
        """Where the run lives: the hash is of all that can change the result."""
        what = self.canonical_run() | {"checkpoints": records.canonical(Checkpoints())}
        return self.root / f"{self.name}-{records.config_hash(what, 10)}"


def _is_folder(path: str | None) -> bool:
    return path is not None and (Path(path) / "config.json").is_file()


def load(path: Path | str) -> Training:
    """The configuration in a YAML file.

    Raises ``FileNotFoundError``, or :class:`ConfigError` naming file, key and line: unknown keys
    (with the nearest known one), values of a wrong type, contradictions.
    """
    file = Path(path)
    lines: dict[str, tuple[Path, int]] = {}
    try:
        config = _strict.build(Training, _merged(file, (), lines))
        check_options(config)
    except ConfigError as error:
        found = _yaml.place(str(error), lines)
        where = ""
        if found is not None:
            where = f" ({'' if found[0] == file else f'{found[0]}, '}line {found[1]})"
        raise ConfigError(f"{file}: {error}{where}") from error
    return config


def check_options(config: Training) -> None:
    """Raise :class:`ConfigError` for what TRL does not know or the engine would not read."""
    check_trl(config.trl, config.generation.engine, config.model.small is not None)


def _merged(
    file: Path, behind: tuple[Path, ...], lines: dict[str, tuple[Path, int]]
) -> dict[str, Any]:
    """The mapping in a YAML file over that of the file it ``extends``; ``lines`` gets the places.

    Mappings are merged key by key; ``parameters`` and ``trl`` are replaced whole, because another
    rule has other parameters.
    """
    if file.resolve() in behind:
        raise ConfigError("extends: the files extend one another")
    try:
        mine, places = _yaml.read_mapping(file)
    except ConfigError as error:
        raise ConfigError(f"extends {file}: {error}" if behind else str(error)) from error
    parent = mine.pop("extends", None)
    below: dict[str, Any] = {}
    if parent is not None:
        lines["extends"] = (file, places["extends"])
        if not isinstance(parent, str) or not parent:
            raise ConfigError(f"extends: must be a path or a shipped name, got {parent!r}")
        below = _merged(_parent(parent, file), (*behind, file.resolve()), lines)
    lines.update({key: (file, line) for key, line in places.items()})
    return _over(below, mine)


def _parent(name: str, file: Path) -> Path:
    """The file that ``file`` extends: beside it, else a shipped one."""
    own = Path(name).expanduser()
    for path in (file.parent / own, file.parent / f"{own}.yaml"):
        if path.is_file():
            return path
    try:
        return find_shipped(name)
    except FileNotFoundError as error:
        raise ConfigError(
            f"extends: no configuration file {name} beside {file.name}, and {error}"
        ) from error


def find(name: str) -> Path:
    """The file called ``name``, else the shipped configuration of that name.

    Raises ``FileNotFoundError`` that names the nearest shipped one, then all.
    """
    path = Path(name).expanduser()
    return path if path.is_file() else find_shipped(name)


def find_shipped(name: str) -> Path:
    """The shipped configuration of that name, with or without ``.yaml``.

    Raises ``FileNotFoundError`` that names the nearest shipped one, then all.
    """
    from difflib import get_close_matches
    from importlib.resources import files

    shipped = Path(str(files("diffsmooth.configs")))
    for path in (shipped / name, shipped / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(
        str(p.relative_to(shipped).with_suffix(""))
        for p in shipped.rglob("*.yaml")
        if p.parent.name != "accelerate"
    )
    asked = name.removesuffix(".yaml").removesuffix(".yml")
    near = get_close_matches(asked, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise FileNotFoundError(f"no configuration {name!r}; {hint}shipped: {', '.join(known)}")


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and key not in ("parameters", "trl"):
            out[key] = _over(old, value)
        else:
            out[key] = value
    return out


def accelerate_file(name: str) -> Path:
    """An accelerate configuration by its name in ``configs/accelerate`` or by its path."""
    from importlib.resources import files

    shipped = Path(str(files("diffsmooth.configs"))) / "accelerate"
    for path in (shipped / f"{name}.yaml", Path(name).expanduser()):
        if path.is_file():
            return path
    known = sorted(p.stem for p in shipped.glob("*.yaml"))
    raise ConfigError(f"hardware.accelerate: no file {name!r}; shipped: {', '.join(known)}")
