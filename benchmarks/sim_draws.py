"""Sampling the groups of one step (ids, verdicts, token places, log-probs): fused kernel against
the vectorised NumPy version, on shapes of the atlas.  Both start from the same probabilities."""

from __future__ import annotations

import json
import time

import numpy as np

from diffsmooth.sim.dynamics.draws import Sampler
from diffsmooth.sim.policies import softmax
from diffsmooth.sim.regimes import regime

COPIES, SEEDS, GROUP, ROUNDS = 5, 32, 8, 15
CELLS = ("bandit/0", "bandit/40", "bandit/70", "strategies/7", "tree/16", "countdown/12", "maze/22")


def main() -> None:
    rng = np.random.default_rng(0)
    table = []
    for cell in CELLS:
        e = regime(cell).environment(range(SEEDS))
        local, law = softmax(e.model.logits(e.model.start(COPIES)))
        answers = law[..., 0, :] if law.shape[-2] == 1 else np.exp(e.model.answers(local))
        shape = (SEEDS, int(e.train.sum()), GROUP)
        given = (local, answers, rng.random(shape), rng.random(shape))
        sampler = Sampler(e, COPIES, GROUP)
        contestants = {"kernel": sampler._compiled, "NumPy": sampler._plain}
        fused, plain = (f(*given) for f in contestants.values())
        assert all(np.array_equal(a, b) for a, b in zip(fused, plain, strict=True))
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(ROUNDS):
            for name, f in contestants.items():
                start = time.perf_counter()
                f(*given)
                seconds[name].append(time.perf_counter() - start)
        ratio = np.array(seconds["NumPy"]) / np.array(seconds["kernel"])
        table.append(
            {
                "cell": cell,
                "answers": answers.shape[-1],
                "tokens": e.model.mask.shape[1],
                "groups": COPIES * shape[0] * shape[1],
                **{
                    f"{name} [ms]": round(1e3 * float(np.median(v)), 3)
                    for name, v in seconds.items()
                },
                "NumPy / kernel": [
                    round(float(q), 1) for q in np.quantile(ratio, (0.5, 0.25, 0.75))
                ],
            }
        )
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
