"""What was asked is what runs: ranks, steps, options of sampling, prompts, types of numbers."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from diffsmooth import records  # noqa: E402
from diffsmooth.cli import main  # noqa: E402
from diffsmooth.llm import small, train  # noqa: E402
from diffsmooth.llm._token_ids import token_ids  # noqa: E402
from diffsmooth.llm.configuration import ConfigError, Training, load  # noqa: E402
from diffsmooth.llm.engines import trl as engine  # noqa: E402
from tests.llm import trl_toy as toy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

TINY = """\
name: tiny
output: {out}
model:
  small: {{hidden: 16, layers: 1, heads: 2, intermediate: 24, positions: 32}}
  pretraining: {{steps: 12, batch: 16, warmup: 2}}
data: {{style: bare, problems: 8}}
optimisation: {{steps: 2, prompts: 2, group: 4, micro_batch: 4, learning_rate: 1e-2}}
generation: {{engine: small, max_completion_length: 6}}
hardware: {{device: cpu, gradient_checkpointing: false}}
"""


def written(folder: Path, **changes: Any) -> Path:
    """A tiny configuration; ``changes`` go to a file that extends it."""
    (folder / "tiny.yaml").write_text(TINY.format(out=folder / "runs"))
    path = folder / "over.yaml"
    lines = ["extends: tiny.yaml", *(f"{k}: {json.dumps(v)}" for k, v in changes.items())]
    path.write_text("\n".join(lines))
    return path


def configured(folder: Path, **changes: Any) -> Training:
    return load(written(folder, **changes))


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n.,:;'\"!?-+*/=()[]<>{}"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def made(folder: Path, template: str | None = None) -> Path:
    """A random model of characters in ``folder``."""
    shape = small.SmallModel(
        hidden=16, layers=1, heads=2, intermediate=24, positions=512, characters=LETTERS
    )
    model, tok = small.build(shape)
    tok.chat_template = template
    return small.save(model, tok, folder)


# -- ranks ----------------------------------------------------------------------------------------


def test_as_many_ranks_as_asked_run_and_say_so(tmp_path: Path) -> None:
    """Two processes, each seen by the number that it adds; every answer asked for is drawn."""
    path = written(tmp_path, hardware={"processes": 2})
    command = [sys.executable, "-W", "ignore", "-m", "diffsmooth.cli", "train", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("WORLD_SIZE", None)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    config = load(path)
    note = records.read_json(config.folder / "run.json")
    assert note["ranks"] == 2
    assert note["steps"] == 2
    log = records.read_table(config.folder / "log.parquet").to_pylist()
    tokens = next(r["value"] for r in log if r["name"] == "num_tokens" and r["step"] == 1)
    lengths = next(r["value"] for r in log if r["name"] == "completions/mean_length")
    prompts = [len(p.prompt) for p in train.training_task(config.data).problems()]
    answers = config.optimisation.prompts * config.optimisation.group
    assert answers * (min(prompts) + lengths) <= tokens <= answers * (max(prompts) + lengths)


def test_fewer_ranks_than_asked_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    config = configured(tmp_path, hardware={"processes": 2})
    with pytest.raises(ConfigError, match=r"hardware.processes: is 2, but 1 rank "):
        train.fit(config)
    assert not config.root.exists()


def test_the_launcher_starts_what_the_file_asks_for(tmp_path: Path) -> None:
    path = written(tmp_path, hardware={"processes": 2})
    command = train.launch_command(load(path), path, again=True)
    assert command[command.index("--num_processes") + 1] == "2"
    assert command[-2:] == [str(path), "--again"]
    one = load(written(tmp_path))
    assert not train.launched(one)
    hardware = dataclasses.replace(one.hardware, accelerate="gpu1")
    assert train.launched(dataclasses.replace(one, hardware=hardware))


def test_a_rank_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: Any) -> None:
    path = written(tmp_path, hardware={"processes": 2})
    assert train.main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "hardware.processes" in error


# -- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [None, 1.0, 0.01])
def test_too_few_problems_in_a_file_are_said_before_a_model_is_made(
    epochs: float | None, tmp_path: Path, capsys: Any
) -> None:
    data = tmp_path / "one.jsonl"
    data.write_text('{"nums": [3, 8], "target": 24}\n')
    optimisation = {} if epochs is None else {"steps": None, "epochs": epochs}
    path = written(tmp_path, data={"problems": None, "data": str(data)}, optimisation=optimisation)
    assert main(["train", str(path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "data.problems: 1 problem, but a step takes 2 different prompts" in error
    assert not load(path).root.exists()


def test_a_run_without_a_step_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever upstream's reason may be: no run.json, no model, an error."""
    config = configured(tmp_path)

    class Idle:
        accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, is_main_process=True)
        state = SimpleNamespace(global_step=0)
        train_dataset = (1, 2)

        def train(self, resume_from_checkpoint: Any = None) -> None:
            """Does nothing."""

    monkeypatch.setattr(train, "trainer", lambda *args: Idle())
    with pytest.raises(ConfigError, match="no step was made with 2 problems"):
        train.fit(config)
    assert not records.done(config.folder / "run.json")


# -- the lean sampler's options -----------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.4}, {"repetition_penalty": 1.5},
    {"repetition_penalty": 0.7, "temperature": 0.6},
    {"top_p": 0.8, "top_k": 6, "min_p": 0.05, "repetition_penalty": 1.2, "temperature": 1.7},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_sampling_are_those_of_generate(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every law that is drawn from, token by token, against ``generate``'s own scores."""
    model, tok = small.build(dataclasses.replace(toy.SHAPE, seed=1))
    prompt = tok("3,4,4=16:")["input_ids"]
    laws: list[Any] = []
    draw = torch.multinomial

    def spy(law: Any, number: int, **kwargs: Any) -> Any:
        laws.append(law.clone())
        return draw(law, number, **kwargs)

    monkeypatch.setattr(torch, "multinomial", spy)
    found = small.sample(
        model, [prompt], max_new_tokens=5, eos=tok.eos_token_id, pad=tok.pad_token_id,
        generator=torch.Generator().manual_seed(3), **options,
    )  # fmt: skip
    monkeypatch.undo()
    answer = found.ids[0]
    assert len(laws) == len(answer) > 1
    for step, law in enumerate(laws):
        ids = torch.tensor([prompt + answer[:step]])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=True,
            return_dict_in_generate=True, output_scores=True, pad_token_id=tok.pad_token_id,
            **{"top_k": 0, **options},
        )  # fmt: skip
        torch.testing.assert_close(law[0], output.scores[0][0].softmax(-1), atol=1e-6, rtol=1e-5)
        with torch.no_grad():
            whole = model(ids).logits[0, -1] / options.get("temperature", 1.0)
        want = float(whole.log_softmax(-1)[answer[step]])
        assert found.logps[0][step] == pytest.approx(want, abs=2e-5)


def test_padded_rows_and_rows_that_end_keep_their_own_penalty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prompts of unequal length in one batch draw from the laws that each has alone."""
    model, tok = small.build(toy.SHAPE)
    prompts = [tok(p)["input_ids"] for p in ("3,4=7:", "1=1:", "9,9,9=81:")]
    options: dict[str, Any] = {"repetition_penalty": 3.0, "top_p": 0.9}
    laws: list[Any] = []
    draw = torch.multinomial

    def spy(law: Any, number: int, **kwargs: Any) -> Any:
        laws.append(law.clone())
        return draw(law, number, **kwargs)

    monkeypatch.setattr(torch, "multinomial", spy)
    arguments: dict[str, Any] = {
        "max_new_tokens": 6, "eos": tok.eos_token_id, "pad": tok.pad_token_id, **options,
    }  # fmt: skip
    together = small.sample(
        model, prompts, repeat=4, generator=torch.Generator().manual_seed(2), **arguments
    )
    mine, one = list(laws), {**arguments, "max_new_tokens": 1}
    alive = list(range(12))
    for step, law in enumerate(mine):
        for place, row in enumerate(alive):
            laws.clear()
            small.sample(model, [prompts[row // 4] + together.ids[row][:step]], **one)
            torch.testing.assert_close(law[place], laws[0][0], atol=1e-5, rtol=1e-4)
        alive = [row for row in alive if len(together.ids[row]) > step + 1]
    assert len({len(x) for x in together.ids}) > 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_p", -1.0), ("top_p", 0.0), ("top_p", 1.1), ("top_p", float("nan")), ("top_k", -1),
        ("top_k", 1.5), ("top_k", True), ("min_p", -0.1), ("min_p", 2.0),
        ("repetition_penalty", 0.0), ("repetition_penalty", float("inf")),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(name: str, value: Any) -> None:
    model, _ = small.build(toy.SHAPE)
    arguments: dict[str, Any] = {"max_new_tokens": 2, "eos": 1, "pad": 0, name: value}
    with pytest.raises(ValueError, match=name):
        small.sample(model, [[3]], **arguments)


def test_the_trainers_options_reach_the_lean_sampler(tmp_path: Path) -> None:
    """top_k = 1 leaves one token: all answers of a group are the same, and likely ones."""
    seen: list[list[str]] = []

    class Spy(engine.SmoothedGRPOTrainer):  # type: ignore[misc, name-defined]
        def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
            seen.append(list(completions))
            return super()._calculate_rewards(inputs, prompts, completions, ids)

    for changes in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        toy.make(
            Spy, tmp_path, {"max_steps": 1, **changes}, rule=None, rollout_func=small.rollout
        ).train()
        texts = seen.pop()
        assert [len(set(texts[rows.start : rows.stop])) for rows in toy.blocks(16, 8)] == [1, 1]
    toy.make(Spy, tmp_path, {"max_steps": 1}, rule=None, rollout_func=small.rollout).train()
    assert len(set(seen.pop()[:8])) > 1


def test_every_end_token_of_the_model_ends_an_answer() -> None:
    model, tok = small.build(toy.SHAPE)
    prompt = tok("3,4=7:")["input_ids"]
    ends = [tok.eos_token_id, *tok("1234567890")["input_ids"]]
    found = small.sample(
        model, [prompt], max_new_tokens=8, eos=ends, pad=tok.pad_token_id, repeat=50,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    for ids in found.ids:
        assert not set(ids[:-1]) & set(ends)
        assert len(ids) == 8 or ids[-1] in ends


# -- prompts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["small", "transformers"])
def test_a_prompt_longer_than_allowed_is_named(which: str, tmp_path: Path) -> None:
    generation = {"engine": which, "max_prompt_length": 512}
    config = configured(tmp_path, generation=generation)
    problems = train.training_task(config.data).problems()
    longest = max(len(p.prompt) for p in problems)
    bound = dataclasses.replace(config.generation, max_prompt_length=longest)
    train.prepare(dataclasses.replace(config, generation=bound))
    bound = dataclasses.replace(bound, max_prompt_length=longest - 1)
    first = next(p for p in problems if len(p.prompt) == longest)
    with pytest.raises(ConfigError, match="generation.max_prompt_length") as caught:
        train.prepare(dataclasses.replace(config, generation=bound))
    assert f"{first.id!r} has {longest} tokens" in str(caught.value)


def test_a_longer_prompt_stops_the_command_before_a_model_is_made(
    tmp_path: Path, capsys: Any
) -> None:
    path = written(tmp_path, generation={"max_prompt_length": 2})
    assert main(["train", str(path)]) == 2
    error = capsys.readouterr().err
    assert "generation.max_prompt_length: is 2" in error
    assert error.count("\n") == 1
    assert not load(path).root.exists()


@pytest.mark.parametrize("which", ["small", "transformers"])
@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_chat_prompts_with_and_without_a_template(
    which: str, template: str | None, tmp_path: Path
) -> None:
    """As in an evaluation: through the template where there is one, else as plain text."""
    from diffsmooth.llm.samplers import Sampling, prompt_text

    model = {"small": None, "path": str(made(tmp_path / "model", template))}
    config = configured(tmp_path, model=model, data={"style": "tags"}, generation={"engine": which})
    task, tok, rows = train.prepare(config)
    for problem, row in zip(task.problems(), rows, strict=True):
        text, special = prompt_text(tok, problem, Sampling())
        want = tok(text, add_special_tokens=special)["input_ids"]
        assert token_ids(tok, [row["prompt"]]) == [want]
    assert train.main([str(tmp_path / "over.yaml")]) == 0
    assert records.read_json(config.folder / "run.json")["steps"] == 2


def test_the_lean_sampler_draws_from_the_prompts_that_the_trainer_would_make(
    tmp_path: Path,
) -> None:
    """Messages through the rollout function and through TRL's own way: the same tokens."""
    folder = made(tmp_path / "model", TEMPLATE)
    model, tok = small.load(folder)
    chats = [[{"role": "user", "content": "3+4"}], [{"role": "user", "content": "say 7"}]]
    trainer = trl.GRPOTrainer(
        model, reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=toy.settings(tmp_path), processing_class=tok,
        train_dataset=toy.dataset(toy.ToyTask()),
    )  # fmt: skip
    want, *_ = trainer._tokenize_prompts(chats)
    assert small.rollout(chats, trainer)["prompt_ids"] == [list(ids) for ids in want]


@pytest.mark.parametrize("here", [True, False])
def test_prompts_of_unknown_characters_name_the_keys(here: bool, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data": {"style": "tags"}}
    if not here:
        shape = small.SmallModel(hidden=16, layers=1, heads=2, intermediate=24)
        folder = small.save(*small.build(shape), tmp_path / "bare")
        changes["model"] = {"small": None, "path": str(folder)}
    with pytest.raises(ConfigError, match="data.style") as caught:
        train.prepare(configured(tmp_path, **changes))
    assert "generation.engine small" in str(caught.value)
    assert ("model.small.characters" if here else "model.path") in str(caught.value)


def test_a_template_that_refuses_the_prompts_is_one_line(tmp_path: Path) -> None:
    refusing = "{{ raise_exception('no users') }}"
    model = {"small": None, "path": str(made(tmp_path / "model", refusing))}
    with pytest.raises(ConfigError, match="model.path: its chat template refuses .*no users"):
        train.prepare(configured(tmp_path, model=model, data={"style": "tags"}))


# -- how weights are held -------------------------------------------------------------------------


@pytest.mark.parametrize("here", [True, False])
def test_dtype_and_attention_have_their_effect(here: bool, tmp_path: Path) -> None:
    model: dict[str, Any] = {"dtype": "bfloat16", "attention": "eager"}
    if not here:
        model |= {"small": None, "path": str(made(tmp_path / "model"))}
    config = configured(tmp_path, model=model)
    ready = train.trainer(config, tmp_path / "work")
    assert {p.dtype for p in ready.model.parameters()} == {torch.bfloat16}
    assert ready.model.config._attn_implementation == "eager"


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = configured(tmp_path, model={"small": None, "path": "~/model/"}, output="~/runs")
    assert config.root == tmp_path / "runs"
    assert train.trainer(config, tmp_path / "work").model is not None
    assert np.isfinite(config.optimisation.learning_rate)
