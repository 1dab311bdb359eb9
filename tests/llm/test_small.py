"""Models made from scratch: tokenizer, determinism, the cached sampler against the plain model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from diffsmooth.llm import small  # noqa: E402
from diffsmooth.llm.tasks.countdown import BARE_ALPHABET, CountDown  # noqa: E402
from diffsmooth.llm.tasks.countdown_data import Generator, split_of  # noqa: E402
from diffsmooth.llm.tasks.splits import Split  # noqa: E402

SHAPE = small.SmallModel(hidden=16, layers=2, heads=2, intermediate=24, positions=32)


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any]:
    return small.build(SHAPE)


def test_one_token_per_character_and_back(made: tuple[Any, Any]) -> None:
    _, tok = made
    ids = tok(BARE_ALPHABET)["input_ids"]
    assert len(ids) == len(BARE_ALPHABET) == len(set(ids))
    assert tok.decode(ids) == BARE_ALPHABET
    ended = [*tok("3+4")["input_ids"], tok.eos_token_id]
    assert tok.decode(ended, skip_special_tokens=True) == "3+4"
    assert tok("?")["input_ids"] == [tok.unk_token_id]


def test_the_default_model_has_a_tenth_of_a_million_parameters() -> None:
    model, _ = small.build()
    assert small.parameters(model) == 102_080


def test_same_seed_same_weights_whatever_the_global_generator(made: tuple[Any, Any]) -> None:
    state = torch.get_rng_state()
    torch.manual_seed(99)
    again, _ = small.build(SHAPE)
    other, _ = small.build(small.SmallModel(**{**vars(SHAPE), "seed": 1}))
    torch.set_rng_state(state)
    a, b, c = (m.state_dict() for m in (made[0], again, other))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_saved_and_loaded(made: tuple[Any, Any], tmp_path: Path) -> None:
    model, tok = made
    folder = small.save(model, tok, tmp_path / "model", {"note": 1})
    again, tok2 = small.load(folder)
    x = torch.tensor([tok("3,4=7:")["input_ids"]])
    assert torch.equal(model(x).logits, again(x).logits)
    assert tok2("3,4=7:")["input_ids"] == tok("3,4=7:")["input_ids"]
    with pytest.raises(FileNotFoundError, match="no model"):
        small.load(tmp_path / "nothing")


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_log_probs_are_the_models_own(made: tuple[Any, Any], temperature: float) -> None:
    """Prompts of unequal length (padding), repeats, rows that end early: all against one plain
    forward pass per answer."""
    model, tok = made
    prompts = [tok(p)["input_ids"] for p in ("3,4=7:", "1=1:", "1=1:", "9,9,9=81:")]
    drawn = small.sample(
        model, prompts, max_new_tokens=7, eos=tok.eos_token_id, pad=tok.pad_token_id,
        temperature=temperature, repeat=3, generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert len(drawn.ids) == len(drawn.logps) == 12
    assert len({tuple(i) for i in drawn.ids}) > 6
    for row, (ids, logps) in enumerate(zip(drawn.ids, drawn.logps, strict=True)):
        prompt = prompts[row // 3]
        assert tok.eos_token_id not in ids[:-1]
        assert len(ids) == 7 or ids[-1] == tok.eos_token_id
        with torch.no_grad():
            law = torch.log_softmax(model(torch.tensor([prompt + ids])).logits[0] / temperature, -1)
        want = [float(law[len(prompt) - 1 + t, i]) for t, i in enumerate(ids)]
        np.testing.assert_allclose(logps, want, atol=2e-5)


def test_sampling_draws_from_the_models_law(made: tuple[Any, Any]) -> None:
    """First tokens of 20,000 answers against the exact law, by a bound that fails once in 1e9."""
    model, tok = made
    prompt = tok("3,4=7:")["input_ids"]
    n = 20_000
    drawn = small.sample(
        model, [prompt], max_new_tokens=1, eos=tok.eos_token_id, pad=tok.pad_token_id, repeat=n,
        generator=torch.Generator().manual_seed(7),
    )  # fmt: skip
    with torch.no_grad():
        law = torch.softmax(model(torch.tensor([prompt])).logits[0, -1], -1).tolist()
    counts = np.bincount([i[0] for i in drawn.ids], minlength=len(law))
    # Hoeffding for every token at once.
    bound = math.sqrt(math.log(2 * len(law) / 1e-9) / (2 * n))
    assert np.abs(counts / n - np.asarray(law)).max() < bound


def test_sampling_is_repeatable_and_leaves_the_model_as_it_was(made: tuple[Any, Any]) -> None:
    model, tok = made
    model.train()
    prompts = [tok("3,4=7:")["input_ids"]] * 5

    def draw(seed: int) -> list[list[int]]:
        return small.sample(
            model, prompts, max_new_tokens=6, eos=tok.eos_token_id, pad=tok.pad_token_id,
            generator=torch.Generator().manual_seed(seed),
        ).ids  # fmt: skip

    state = torch.get_rng_state()
    assert draw(3) == draw(3) != draw(4)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    model.eval()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_ids": []}, "prompt_ids"),
        ({"prompt_ids": [[]]}, "prompt_ids"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"repeat": 0}, "repeat"),
    ],
)
def test_bad_sampling_arguments(
    made: tuple[Any, Any], changes: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {"prompt_ids": [[3]], "max_new_tokens": 2, "eos": 1, "pad": 0}
    with pytest.raises(ValueError, match=message):
        small.sample(made[0], **{**arguments, **changes})


@pytest.mark.parametrize(
    "bad",
    [{"hidden": 0}, {"hidden": 15, "heads": 2}, {"hidden": 6, "heads": 2}, {"characters": "11"}],
)
def test_bad_shapes_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="SmallModel"):
        small.SmallModel(**bad)


def test_pretraining_teaches_and_is_repeatable(tmp_path: Path) -> None:
    """Two numbers only: in 150 steps the loss falls to a third of its start, twice the same way."""
    law = Generator(min_numbers=2, max_numbers=2, high=5, max_target=25)
    config = small.Pretraining(steps=150, batch=32, warmup=10, learning_rate=1e-2)
    losses: dict[str, list[float]] = {"a": [], "b": []}
    for name, seen in losses.items():
        small.pretrain_countdown(
            tmp_path / name, SHAPE, config, law, lambda step, loss, seen=seen: seen.append(loss)
        )
    assert losses["a"] == losses["b"]
    assert np.mean(losses["a"][-10:]) < np.mean(losses["a"][:2]) / 3
    model, tok = small.load(tmp_path / "a")
    # Problems are few here, so that the held-out ones resemble the training ones closely.
    split: Split = "train"
    task = CountDown(law.distinct(split, 10, 0), style="bare")
    drawn = small.sample(
        model, tok([p.prompt for p in task.problems()])["input_ids"], max_new_tokens=6,
        eos=tok.eos_token_id, pad=tok.pad_token_id, repeat=20,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    texts = tok.batch_decode(drawn.ids, skip_special_tokens=True)
    verdicts = task.verify_many(
        (p, texts[20 * i + j]) for i, p in enumerate(task.problems()) for j in range(20)
    )
    assert np.mean([v.correct for v in verdicts]) > 0.2
    assert all(split_of(p.payload) == "train" for p in task.problems())
