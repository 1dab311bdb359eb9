"""The whole configuration of a training run: frozen dataclasses, read strictly from YAML.

The same objects come from Python, a notebook or a file.  A file may ``extend`` another one beside
it, so that a baseline says only what differs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffsmooth import records
from diffsmooth.llm.engines import _strict
from diffsmooth.llm.engines._adaptive import Adaptive
from diffsmooth.llm.engines._loss import KLCov, SimKO
from diffsmooth.llm.small import Pretraining, SmallModel
from diffsmooth.llm.tasks.countdown_data import Generator

if TYPE_CHECKING:
    from diffsmooth.theory.rules import Rule

ConfigError = _strict.ConfigError


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters instead of full fine-tuning (``peft``)."""

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


@dataclass(frozen=True)
class Model:
    """Either ``path`` (hub name or folder) or ``small`` (made here and pre-trained here)."""

    path: str | None = None
    small: SmallModel | None = None
    pretraining: Pretraining = field(default_factory=Pretraining)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: str | None = None
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.small is None):
            raise ValueError("give exactly one of path (hub name or folder) and small (made here)")


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
        self.build()

    def build(self) -> Rule | None:
        """The rule; ``None`` for plain GRPO as the engine computes it.  Raises ``ValueError``."""
        from diffsmooth.theory.rules import rule

        built = rule(self.name, **self.parameters)
        return None if self.name == "grpo" and self.base == "engine" else built


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
        for name in ("prompts", "group", "updates", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be >= 1")
        if self.group < 2:
            raise ValueError("group is 1; a group needs at least 2 answers")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be > 0")

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
    """How answers are drawn; ``small``: the lean sampler of ``llm/small.py`` (CPU)."""

    engine: Literal["small", "transformers", "vllm-colocate", "vllm-server"] = "transformers"
    max_prompt_length: int = 512
    max_completion_length: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    vllm_memory: float = 0.3
    vllm_tensor_parallel: int = 1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it must be > 0")
        if self.max_completion_length < 1 or self.max_prompt_length < 1:
            raise ValueError("max_prompt_length and max_completion_length must be >= 1")


@dataclass(frozen=True)
class Checkpoints:
    """A checkpoint ``every`` so many optimiser steps (0: none); ``keep`` the newest."""

    every: int = 0
    keep: int = 2


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
        self.optimisation.accumulation(self.hardware.processes)
        reserved = sorted(set(self.trl) & _RESERVED)
        if reserved:
            raise ValueError(f"trl.{reserved[0]}: is set by a key of its own, not under trl")
        if (
            self.generation.engine == "small"
            and self.model.small is None
            and not _is_folder(self.model.path)
        ):
            raise ValueError("generation.engine: small needs model.small or a model folder")

    @property
    def folder(self) -> Path:
        """Where the run lives: the hash is of all that can change the result."""
        what = dataclasses.replace(self, output="", name="", checkpoints=Checkpoints())
        return Path(self.output) / f"{self.name}-{records.config_hash(what, 10)}"


#: Fields of ``GRPOConfig`` that :class:`Training` sets from its own keys.
_RESERVED = frozenset(
    {
        "output_dir", "seed", "max_steps", "num_train_epochs", "num_generations", "beta", "epsilon",
        "epsilon_high", "loss_type", "scale_rewards", "learning_rate", "lr_scheduler_type",
        "warmup_steps", "weight_decay", "max_grad_norm", "per_device_train_batch_size",
        "gradient_accumulation_steps", "steps_per_generation", "generation_batch_size",
        "max_completion_length", "temperature", "top_p", "use_vllm", "vllm_mode",
        "vllm_gpu_memory_utilization", "vllm_tensor_parallel_size", "use_cpu", "bf16", "fp16",
        "gradient_checkpointing", "save_strategy", "save_steps", "save_total_limit",
    }
)  # fmt: skip


def _is_folder(path: str | None) -> bool:
    return path is not None and (Path(path) / "config.json").is_file()


def load(path: Path | str) -> Training:
    """The configuration in a YAML file.

    Raises ``FileNotFoundError``, or :class:`ConfigError` naming file and key: unknown keys (with
    the nearest known one), values of a wrong type, contradictions.
    """
    file = Path(path)
    try:
        config = _strict.build(Training, _merged(file, ()))
        check_trl(config.trl)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return config


def _merged(file: Path, behind: tuple[Path, ...]) -> dict[str, Any]:
    """The mapping in a YAML file over that of the file it ``extends`` (a path beside it).

    Mappings are merged key by key; ``parameters`` and ``trl`` are replaced whole, because another
    rule has other parameters.
    """
    import yaml

    if not file.is_file():
        raise FileNotFoundError(f"no configuration file {file}")
    if file.resolve() in behind:
        raise ConfigError("extends: the files extend one another")
    try:
        data: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file.name}: must be a mapping of keys")
    mine: dict[str, Any] = dict(data)
    parent = mine.pop("extends", None)
    if parent is None:
        return mine
    if not isinstance(parent, str):
        raise ConfigError(f"extends: must be a path, got {parent!r}")
    below = _merged(file.parent / parent, (*behind, file.resolve()))
    return _over(below, mine)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and key not in ("parameters", "trl"):
            out[key] = _over(old, value)
        else:
            out[key] = value
    return out


def check_trl(extra: dict[str, Any]) -> None:
    """Raise :class:`ConfigError` for a name that ``trl.GRPOConfig`` does not have."""
    if not extra:
        return
    from diffsmooth.llm.engines._hooks import require

    known = [f.name for f in dataclasses.fields(require("trl", "trl").GRPOConfig)]
    for name in extra:
        if name not in known:
            near = _strict.nearest(name, known)
            hint = near if near.startswith("did") else "not a field of GRPOConfig"
            raise ConfigError(f"trl.{name}: unknown key; {hint}")


def accelerate_file(name: str) -> Path:
    """An accelerate configuration by its name in ``configs/accelerate`` or by its path."""
    from importlib.resources import files

    shipped = Path(str(files("diffsmooth.configs"))) / "accelerate"
    for path in (shipped / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    known = sorted(p.stem for p in shipped.glob("*.yaml"))
    raise ConfigError(f"hardware.accelerate: no file {name!r}; shipped: {', '.join(known)}")
