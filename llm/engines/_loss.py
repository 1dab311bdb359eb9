"""KL-Cov and SimKO inside TRL: remedies that change the loss and not the advantage.

TRL's loss reads the live log-probs through one method, ``_get_per_token_logps_and_entropies``, and
that is where both enter; nothing of the loss is copied, so every loss type keeps its own weights.

KL-Cov
    ``beta |log pi - log pi_old|`` on the chosen tokens, as the authors have it: slope ``beta`` from
    the first step off the old policy, whatever the loss type.  A token counts as much as in the
    loss's own KL term, whose weights are read off by a second call of TRL's loss, on the log-probs
    of the first (no forward pass): their derivative by the reference's log-probs at
    ``pi_ref = 2 pi``, where that of TRL's estimator ``exp(x) - x - 1`` is 1.
    ``estimator="k3"`` penalises with ``exp(x) - x - 1``, ``x = log old - log pi``, instead: a
    hundred times weaker at a log-ratio of .01.  Both have gradient 0 where the policy is still the
    old one (up to rounding): with one update a generation KL-Cov does nothing, and is refused.
SimKO
    The log-prob that the loss sees keeps its value and gets the gradient of ``sum_v w_v log
    pi_v``: the authors' ratio with its stopped gradients.  It needs all logits, so the forward pass
    is TRL's own without the fused head: one (answers, tokens, vocabulary) array in memory.

Which tokens and which weights: :mod:`diffsmooth.theory.rules`.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from diffsmooth.llm.engines._hooks import UpstreamChangedError, check_hooks, installed
from diffsmooth.theory.rules import forking_tokens, simko_weights

if TYPE_CHECKING:
    import torch

#: Methods of ``GRPOTrainer`` that are overridden here.
LOSS_HOOKS = {
    "_compute_loss": ("model", "inputs"),
    "_get_per_token_logps_and_entropies": (
        "model", "input_ids", "attention_mask", "logits_to_keep", "compute_entropy",
    ),
}  # fmt: skip

#: Keys beside the trainer's own in a batch of answers.
KL_COV, SIMKO = "kl_cov_chosen", "simko_kind"

_SEEN, _CORRECTION = "diffsmooth_seen", "use_bias_correction_kl"

#: Two forward passes of one policy in single precision differ by so much, per nat and at least.
_ROUNDING = 2e-6

#: Token positions whose weights over the vocabulary are formed at once.
_CHUNK = 512


@dataclass(frozen=True)
class KLCov:
    """A penalty of slope ``beta`` on ``|log pi - log pi_old|`` of the ``fraction`` of tokens of
    largest covariance (``max(1, int(fraction * tokens))`` of them).

    ``estimator``: "abs", the authors'; "k3", TRL's ``exp(x) - x - 1``.
    Source: 2505.22617 (fraction .002, beta 1).
    """

    fraction: float = 2e-3
    beta: float = 1.0
    estimator: Literal["abs", "k3"] = "abs"

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"kl_cov.fraction is {self.fraction}; it must lie in [0, 1]")
        if not 0 <= self.beta < float("inf"):
            raise ValueError(f"kl_cov.beta is {self.beta}; it must be finite and >= 0")
        if self.estimator not in ("abs", "k3"):
            raise ValueError(f"kl_cov.estimator is {self.estimator!r}; it must be abs or k3")

    @property
    def is_zero(self) -> bool:
        return self.fraction == 0 or self.beta == 0


@dataclass(frozen=True)
class SimKO:
    """Weights of :func:`diffsmooth.theory.rules.simko_weights` at forking tokens, those whose
    entropy lies strictly above the ``quantile`` of their own response's.  Source: 2510.14807."""

    alpha: float = 0.01
    top: int = 3
    penalty: float = 1.1
    quantile: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"simko.alpha is {self.alpha}; it must lie in [0, 1]")
        if self.top < 1:
            raise ValueError(f"simko.top is {self.top}; it must be >= 1")
        if not 1 <= self.penalty < float("inf"):
            raise ValueError(f"simko.penalty is {self.penalty}; it must be finite and >= 1")
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"simko.quantile is {self.quantile}; it must lie in [0, 1]")

    @property
    def is_zero(self) -> bool:
        return self.alpha == 0 and self.penalty == 1


class LossMixin:
    """Mixin over ``trl.GRPOTrainer``: what KL-Cov and SimKO do inside the loss."""

    # What the trainer behind the mixin has.
    model: Any
    args: Any
    beta: float
    temperature: float
    _metrics: Any
    _kl_cov: KLCov | None = None
    _simko: SimKO | None = None
    #: The batch whose loss is being computed, None outside; what the loss got under "seen".
    _in_loss: dict[str, Any] | None = None

    def _set_loss_rivals(self, upstream: type, kl_cov: KLCov | None, simko: SimKO | None) -> None:
        """Strength 0 is nothing.  Raises :class:`UpstreamChangedError` if TRL lacks a hook."""
        self._kl_cov = None if kl_cov is None or kl_cov.is_zero else kl_cov
        self._simko = None if simko is None or simko.is_zero else simko
        if self._kl_cov or self._simko:
            check_hooks(upstream, LOSS_HOOKS, "trl")

    def _check_loss_rivals(self) -> None:
        """Raises ``ValueError`` for settings under which they would do nothing or mean nothing."""
        if not (self._kl_cov or self._simko):
            return
        if getattr(self, "use_liger_kernel", False) or getattr(self, "use_liger_loss", False):
            raise ValueError("kl_cov and simko need TRL's own loss: leave Liger's loss off")
        if self._kl_cov:
            uses = self.args.steps_per_generation * self.args.num_iterations
            if self.args.gradient_accumulation_steps % uses == 0:
                raise ValueError(
                    "kl_cov does nothing with one update a generation, where the policy is still "
                    "the old one: raise steps_per_generation or num_iterations"
                )
        if self._simko and getattr(self, "aux_loss_enabled", False):
            raise ValueError("simko does not support the router's auxiliary loss")

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        if not (self._kl_cov or self._simko) or not self.model.training:
            return super()._compute_loss(model, inputs)  # type: ignore[misc]
        batch = dict(inputs)
        if self._kl_cov and batch.get("old_per_token_logps") is None:
            raise UpstreamChangedError(
                f"trl {installed('trl')}: no old_per_token_logps with several updates a "
                "generation; kl_cov cannot be applied. Use a supported version."
            )
        self._in_loss = batch
        try:
            loss = super()._compute_loss(model, batch)  # type: ignore[misc]
            if _SEEN not in batch:
                raise UpstreamChangedError(
                    f"trl {installed('trl')}: the loss does not ask for log-probs; kl_cov and "
                    "simko would silently not be applied. Use a supported version."
                )
            return loss + self._penalty(model, batch) if self._kl_cov else loss
        finally:
            self._in_loss = None

    def _penalty(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        """KL-Cov's term of the loss."""
        assert self._kl_cov is not None
        now = batch[_SEEN][0]
        old = batch["old_per_token_logps"].to(now.dtype)
        change = now - old
        # The sign of rounding is no direction: there the policy is still the old one.
        same = change.detach().abs() <= _ROUNDING * (1 + old.abs())
        # Of a token that was not chosen, log-probs may hold anything.
        change = change.masked_fill(same | ~batch[KL_COV].bool(), 0.0)
        k3 = self._kl_cov.estimator == "k3"
        value = (-change).exp() + change - 1 if k3 else change.abs()
        weight = self._kl_weights(model, batch)
        penalty: torch.Tensor = self._kl_cov.beta * (weight * value).sum()
        return penalty

    def _kl_weights(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        """(B, T) what a token's KL counts in TRL's loss, whatever its type."""
        import torch

        first = batch[_SEEN]
        frozen = tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in first)
        reference = (frozen[0] + math.log(2.0)).requires_grad_()
        again = {**batch, "ref_per_token_logps": reference, _SEEN: frozen}
        with self._aside():
            self.beta, self._in_loss = 1.0, again
            loss = super()._compute_loss(model, again)  # type: ignore[misc]
        weights: torch.Tensor = torch.autograd.grad(loss, reference)[0]
        return weights

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """What the trainer logs and remembers within is forgotten afterwards."""
        state, corrected = dict(self.__dict__), getattr(self.args, _CORRECTION, None)
        self._metrics = copy.deepcopy(self._metrics)
        if corrected:
            setattr(self.args, _CORRECTION, False)
        try:
            yield
        finally:
            self.__dict__.clear()
            self.__dict__.update(state)
            if corrected:
                setattr(self.args, _CORRECTION, corrected)

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        upstream = super()._get_per_token_logps_and_entropies  # type: ignore[misc]
        batch = self._in_loss
        if batch is None:
            return upstream(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        if _SEEN in batch:  # the second call of the loss
            return batch[_SEEN]
        if self._simko:
            extra = [k for k, v in kwargs.items() if v is not None and v is not False]
            if args or set(extra) - {"compute_entropy"}:
                raise ValueError(f"simko supports plain text only, got {', '.join(extra)}")
            logps, entropies = self._spread(model, input_ids, attention_mask, logits_to_keep, batch)
            result: Any = (logps, entropies)
            if "compute_aux_loss" in inspect.signature(upstream).parameters:
                result = (*result, None)
        else:
            result = upstream(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        batch[_SEEN] = result
        return result

    def _spread(
        self, model: Any, ids: Any, attention: Any, keep: int, batch: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(log-probs with SimKO's gradient, entropies), each (B, T)."""
        import torch

        simko = self._simko
        assert simko is not None
        kwargs: dict[str, Any] = {}
        if "logits_to_keep" in getattr(self, "model_kwarg_keys", ()):
            kwargs["logits_to_keep"] = keep + 1
        logits = model(input_ids=ids, attention_mask=attention, use_cache=False, **kwargs).logits[
            :, :-1
        ][:, -keep:]
        logits = (logits / self.temperature).float()
        total = logits.logsumexp(dim=-1, keepdim=True)
        taken = ids[:, -keep:]
        logps = logits.gather(-1, taken[..., None])[..., 0] - total[..., 0]
        mask = batch["completion_mask"]
        if "tool_mask" in batch:
            mask = mask * batch["tool_mask"]
        kind = batch[SIMKO][:, None].expand(taken.shape).reshape(-1)
        flat, names = logits.flatten(0, 1), taken.reshape(-1)
        chunks = range(0, len(flat), _CHUNK)
        with torch.no_grad():
            entropies = torch.cat([_entropy(flat[i : i + _CHUNK]) for i in chunks])
            entropies = entropies.view(taken.shape)
            forks = forking_tokens(entropies, mask.bool(), simko.quantile).reshape(-1)
            found = []
            width = min(simko.top + 1, flat.shape[1])  # the token taken and the likeliest
            for i in chunks:
                part = slice(i, i + _CHUNK)
                weights = simko_weights(
                    flat[part].log_softmax(dim=-1), names[part], kind[part] >= 0,
                    forks[part] & (kind[part] != 0), alpha=simko.alpha,
                    top=min(simko.top, flat.shape[1]), penalty=simko.penalty,
                )  # fmt: skip
                found.append(weights.topk(width, dim=1))
            weight = torch.cat([f.values for f in found])
            place = torch.cat([f.indices for f in found])
        spread = (weight * (flat.gather(1, place) - total.flatten(0, 1))).sum(dim=1)
        change = spread.view(taken.shape) - logps
        return logps + (change - change.detach()), entropies


def _entropy(logits: torch.Tensor) -> torch.Tensor:
    """(N, V) -> (N,): entropy of the token law in nats; a logit may be -inf."""
    law = logits.log_softmax(dim=-1)
    return -(law.exp() * law.nan_to_num(neginf=0.0)).sum(dim=-1)
