"""One regime, many remedies: the measured path of every remedy, strength and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from diffsmooth.sim import kernels, randomness
from diffsmooth.sim.dynamics import compiled, exact, natural
from diffsmooth.sim.dynamics.device import exact_steps_on
from diffsmooth.sim.dynamics.draws import Randomness
from diffsmooth.sim.dynamics.expected import NoClosedFormError
from diffsmooth.sim.dynamics.sampled import Trainer
from diffsmooth.sim.environment import Environment
from diffsmooth.sim.measures import measure
from diffsmooth.sim.policies import Float, Tabular
from diffsmooth.sim.regimes import Regime, Training
from diffsmooth.sim.remedies import REMEDIES, Update, remedy_named
from diffsmooth.theory.rules import ClipBounds, Rule

Dynamics = Literal["sampled", "exact", "flow", "natural", "response"]

#: Runge-Kutta steps per step of training.
_SUBSTEPS = 2


@dataclass(frozen=True, eq=False)
class Paths:
    """What one remedy did: steps (T,), and every measure (T, L, S) for its L trials.

    ``strengths`` and ``rates`` (factors on the learning rate) say what each trial was.
    """

    remedy: str
    strengths: tuple[float, ...]
    rates: tuple[float, ...]
    steps: Float
    measures: dict[str, Float]

    def trial(self, strength: float, rate: float = 1.0) -> int:
        """The index of a trial.  Raises ValueError if it was not run."""
        trials = list(zip(self.strengths, self.rates, strict=True))
        if (strength, rate) not in trials:
            raise ValueError(f"strength: {self.remedy} was not run at {strength}, rate {rate}")
        return trials.index((strength, rate))


def check_dynamics(name: str) -> None:
    """Raise ValueError unless ``name`` is a kind of dynamics."""
    if name not in get_args(Dynamics):
        raise ValueError(f"dynamics: must be one of {', '.join(get_args(Dynamics))}; got {name!r}")


class Laboratory:
    """One regime with fixed seeds: what every remedy is run on.

    Environment and uniforms are drawn once and shared.  ``device`` (cpu, cuda): run exact dynamics
    in torch there.
    """

    def __init__(
        self,
        regime: Regime,
        seeds: range,
        dynamics: Dynamics = "sampled",
        training: Training | None = None,
        device: str | None = None,
    ) -> None:
        check_dynamics(dynamics)
        if device is not None and dynamics != "exact":
            raise ValueError(f"device: only exact dynamics run in torch, got {dynamics!r}")
        self.device = device
        self.regime = regime
        self.dynamics: Dynamics = dynamics
        self.training = training or regime.training
        self.environment: Environment = regime.environment(seeds)
        prompts = int(self.environment.train.sum())
        shape = (self.training.steps, prompts, self.training.group_size)
        length = self.environment.model.mask.shape[1]
        self.randomness = None
        if dynamics == "sampled":
            self.randomness = Randomness(
                draws=regime.uniforms(seeds, randomness.DRAWS, shape),
                noise=regime.uniforms(seeds, randomness.NOISE, shape),
                tokens=regime.uniforms(seeds, randomness.TOKENS, (*shape, length)),
            )

    def run(self, name: str, strengths: Sequence[float] | None = None) -> Paths:
        """Train one remedy at its strengths (or those given) and measure its path.

        Raises ValueError on an unknown remedy, no strength at all, or where a group is too
        small for one; NoClosedFormError for dynamics that need an expectation it does not have.
        """
        chosen = remedy_named(name).strengths if strengths is None else strengths
        return self.tune(name, [(s, 1.0) for s in chosen])

    def tune(self, name: str, trials: Sequence[tuple[float, float]] | None = None) -> Paths:
        """As :meth:`run`, for pairs of a strength and a factor on the learning rate.

        All fifteen of the remedy if none are given.
        """
        remedy = remedy_named(name)
        chosen = tuple(remedy.trials if trials is None else trials)
        if not chosen:
            raise ValueError(f"{name}: at least one strength is needed")
        updates = [remedy.at(s, r) for s, r in chosen]
        strength = max((s for s, _ in chosen), key=remedy.smallest_group)
        least = remedy.smallest_group(strength)
        if self.training.group_size < least:
            raise ValueError(
                f"{name}: needs groups of at least {least} at {remedy.parameter}={strength:g}, "
                f"got group_size={self.training.group_size}"
            )
        steps: list[int] = []
        found: list[dict[str, Float]] = []

        def observe(step: int, log_probs: Float) -> None:
            steps.append(step)
            found.append(measure(self.environment, log_probs))

        if self.dynamics == "sampled":
            self._sampled(updates, observe)
        else:
            self._expected(updates, observe)
        measures = {key: np.stack([f[key] for f in found]) for key in found[0]}
        grid, rates = (tuple(column) for column in zip(*chosen, strict=True))
        return Paths(name, grid, rates, np.array(steps, dtype=np.float64), measures)

    @property
    def every(self) -> int:
        """Steps between checkpoints."""
        return self.training.steps // (self.training.checkpoints - 1)

    def _sampled(self, updates: Sequence[Update], observe: Callable[[int, Float], None]) -> None:
        t = self.training
        trainer = Trainer(
            self.environment, updates, group_size=t.group_size, epochs=t.epochs, rate=t.rate
        )
        assert self.randomness is not None
        trainer.run(t.steps, self.randomness, observe, self.every)

    def _expected(self, updates: Sequence[Update], observe: Callable[[int, Float], None]) -> None:
        t, e = self.training, self.environment
        rules = [plain_rule(u) for u in updates]
        scale = t.rate * t.epochs * np.array([u.rate for u in updates])
        if self.dynamics == "response":
            for step in range(0, t.steps + 1, self.every):
                laws = [
                    natural.best_response(e, [rule], t.group_size, float(step * s) / t.steps)
                    for rule, s in zip(rules, 10.0 * scale, strict=True)
                ]
                observe(step, np.concatenate(laws))
            return
        make = natural.natural_gradient if self.dynamics == "natural" else exact.expected_gradient
        if self.dynamics == "exact" and self._compiled(rules, scale, observe):
            return
        plain = make(e, rules, t.group_size)
        parameters = e.model.start(len(rules))
        rates = scale.reshape(-1, *(1,) * (parameters.ndim - 1))

        def field(x: Float) -> Float:
            return np.asarray(rates * plain(x))

        observe(0, e.model.log_probs(parameters))
        for step in range(self.every, t.steps + 1, self.every):
            if self.dynamics == "flow":
                count = self.every * _SUBSTEPS
                parameters = exact.flow(field, parameters, float(self.every), count)
            else:
                parameters = exact.steps(field, parameters, self.every, 1.0)
            observe(step, e.model.log_probs(parameters))

    def _compiled(
        self, rules: Sequence[Rule], rates: Float, observe: Callable[[int, Float], None]
    ) -> bool:
        """Exact steps by the compiled kernel, where it can; says whether it could."""
        e, t = self.environment, self.training
        simple = isinstance(e.model, Tabular) and e.train.all() and np.isfinite(e.base).all()
        if simple and (self.device is not None or kernels.available()):
            try:
                for rule in rules:
                    compiled.linear(rule, t.group_size)
            except NoClosedFormError:
                simple = False
        else:
            simple = False
        if not simple:
            if self.device is not None:
                raise NoClosedFormError(
                    "device: only linear rules on one softmax a prompt without padding run in torch"
                )
            return False
        parameters = e.model.start(len(rules))
        policies = parameters.reshape(len(rules), -1, parameters.shape[-1])
        observe(0, e.model.log_probs(parameters))
        for step in range(self.every, t.steps + 1, self.every):
            verified = e.verified.reshape(policies.shape[1:])
            given: dict[str, Any] = {
                "rates": rates,
                "count": self.every,
                "group_size": t.group_size,
            }
            if self.device is None:
                compiled.exact_steps(policies, verified, rules, **given)
            else:
                policies[:] = exact_steps_on(self.device, policies, verified, rules, **given)
            observe(step, e.model.log_probs(parameters))
        return True


def plain_rule(update: Update) -> Rule:
    """The update's rule.  Raises NoClosedFormError if the update is more than a rule."""
    sampled = update.tokens is not None or update.adaptive is not None or update.replay
    if sampled or update.clip != ClipBounds():
        raise NoClosedFormError(
            "clipping, token selection, adaptive strengths and replay act on samples: use sampled "
            "dynamics"
        )
    return update.rule


def closed_remedies() -> tuple[str, ...]:
    """Names of the remedies whose expected update has a closed form."""
    from diffsmooth.sim.dynamics.expected import Population, expected_advantage

    log_probs = np.log(np.full((1, 4), 0.25))
    population = Population(
        log_probs, np.array([[1.0, 1.0, 0.0, 0.0]]), np.ones((1, 4), dtype=np.int64), log_probs
    )
    out = []
    for name, remedy in REMEDIES.items():
        try:
            for update in remedy.updates():
                expected_advantage(plain_rule(update), population, 8)
        except NoClosedFormError:
            continue
        out.append(name)
    return tuple(out)


def linear_remedies() -> tuple[str, ...]:
    """Names of the remedies that the compiled and torch kernels know."""
    out = []
    for name in closed_remedies():
        try:
            compiled.linear(plain_rule(REMEDIES[name].updates()[-1]), 8)
        except NoClosedFormError:
            continue
        out.append(name)
    return tuple(out)
