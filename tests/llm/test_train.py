"""Configurations: strict, complete, resolved offline; the command trains, is killed and resumes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from diffsmooth import records
from diffsmooth.cli import main
from diffsmooth.llm._plan import lora_parameters, plan
from diffsmooth.llm.configuration import Lora, Training, accelerate_file, find, load
from diffsmooth.llm.engines import _architectures as architectures
from diffsmooth.llm.engines._strict import ConfigError, build
from diffsmooth.llm.train import grpo_config, launch_command

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

ROOT = find("small/grpo").parents[1]
SHIPPED = sorted(p for p in ROOT.rglob("*.yaml") if p.parent.name != "accelerate")

TINY = """
name: tiny
output: {out}
model:
  small: {{hidden: 16, layers: 1, heads: 2, intermediate: 24, positions: 32}}
  pretraining: {{steps: 12, batch: 16, warmup: 2}}
data: {{task: countdown, style: bare, problems: 8}}
rule: {{name: centred, parameters: {{g_correct: 0.3}}}}
optimisation: {{steps: {steps}, prompts: 2, group: 4, micro_batch: 8, learning_rate: 1e-2}}
generation: {{engine: small, max_completion_length: 6}}
checkpoints: {{every: 1}}
hardware: {{device: cpu, gradient_checkpointing: false}}
"""


def tiny(folder: Path, out: str = "runs", steps: int = 6, extra: str = "") -> Path:
    path = folder / "tiny.yaml"
    path.write_text(TINY.format(out=folder / out, steps=steps) + extra)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_shipped_configurations_resolve_offline(path: Path, capsys: Any) -> None:
    assert main(["train", str(path), "--dry-run"]) == 0
    text = capsys.readouterr().out
    config = load(path)
    found = plan(config, path)
    assert found.parameters is not None
    assert f"parameters: {found.parameters:,}" in text
    assert found.memory is not None
    assert found.total_memory is not None
    assert found.total_memory < config.hardware.memory_gib
    assert found.tokens is not None or config.optimisation.epochs is not None
    assert str(config.folder) in text
    if config.hardware.accelerate is not None:
        assert accelerate_file(config.hardware.accelerate).is_file()


def test_the_trainers_own_arithmetic_agrees_with_the_plan(tmp_path: Path) -> None:
    """``GRPOConfig`` accepts every shipped one-process configuration, with the planned sizes."""
    for path in SHIPPED:
        config = load(path)
        if config.hardware.processes > 1:
            config = dataclasses.replace(
                config,
                hardware=dataclasses.replace(
                    config.hardware, processes=1, accelerate=None, device="cpu", precision="float32"
                ),
            )
        args = grpo_config(config, tmp_path)
        o = config.optimisation
        assert args.generation_batch_size == o.prompts * o.group
        assert args.steps_per_generation == o.updates * args.gradient_accumulation_steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("naem: x", "naem: unknown key; did you mean 'name'?"),
        ("name: x\nmodel: {small: {}}\nrule: {nam: eq6}", "rule.nam: unknown key; did you mean"),
        ("name: x\nmodel: {small: {hiden: 8}}", "model.small.hiden: unknown key; did you mean"),
        ("name: x\nmodel: {small: {}}\nrule: {name: centerd}", "did you mean 'centred'"),
        ("name: x\nmodel: {small: {}}\nrule: {name: eq6, parameters: {g: 1}}", "rule"),
        ("name: x\nmodel: {small: {}}\nseed: one", "seed: must be int, got 'one'"),
        ("name: x\nmodel: {small: {}}\nseed: true", "seed: must be int, got True"),
        ("name: x", "model: missing"),
        ("name: x\nmodel: {}", "exactly one of path"),
        ("name: x\nmodel: {small: {}}\ntrl: {entropy_coeff: 1}", "did you mean 'entropy_coef'"),
        ("name: x\nmodel: {small: {}}\ntrl: {seed: 1}", "trl.seed: is set by a key of its own"),
        (
            "name: x\nmodel: {small: {}}\noptimisation: {steps: 1, epochs: 1}",
            "exactly one of steps",
        ),
        ("name: x\nmodel: {small: {}}\noptimisation: {steps: 1, prompts: 3}", "do not divide"),
        ("name: x\nmodel: {small: {}}\noptimisation: {steps: 1, loss: dpao}", "mean 'dapo'"),
        ("- a", "mapping"),
        ("a: [", "not YAML"),
        ("extends: nowhere.yaml", "no configuration file"),
    ],
)
def test_a_bad_configuration_is_one_line_and_exit_2(
    text: str, message: str, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert main(["train", str(path), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_extends_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\nname: a")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nname: b")
    with pytest.raises(ConfigError, match="extend one another"):
        load(tmp_path / "a.yaml")


def test_extending_replaces_parameters_whole_and_merges_the_rest(tmp_path: Path) -> None:
    base = tiny(tmp_path)
    path = tmp_path / "over.yaml"
    path.write_text(f"extends: {base.name}\nrule: {{name: maxrl, parameters: {{}}}}\nseed: 4")
    config = load(path)
    assert config.rule.parameters == {}
    assert config.seed == 4
    assert config.optimisation == load(base).optimisation


def test_the_folder_depends_on_what_changes_the_result_only(tmp_path: Path) -> None:
    config = load(tiny(tmp_path))
    same = dataclasses.replace(config, checkpoints=dataclasses.replace(config.checkpoints, every=7))
    assert same.folder == config.folder
    assert dataclasses.replace(config, seed=1).folder != config.folder
    rebuilt = build(Training, {"name": "tiny", "model": {"small": {}}})
    assert rebuilt.folder != config.folder


def test_known_architectures_have_the_published_numbers_of_parameters() -> None:
    published = {
        "Qwen/Qwen2.5-1.5B": 1_543_714_304,
        "Qwen/Qwen2.5-3B": 3_085_938_688,
        "Qwen/Qwen2.5-7B": 7_615_616_512,
        "Qwen/Qwen3-1.7B": 1_720_574_976,
        "mistralai/Ministral-8B-Instruct-2410": 8_019_808_256,
    }
    for name, number in published.items():
        shape = architectures.ARCHITECTURES[name]
        assert architectures.count(architectures.config_of(shape)) == number


def test_lora_parameters_are_those_of_peft() -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = architectures.config_of(
        architectures.Architecture("qwen3", 32, 48, 2, 4, 2, 64, True, 16, 64, 1e4)
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
        wrapped = get_peft_model(model, LoraConfig(r=3, target_modules="all-linear"))
    found = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert lora_parameters(shape, Lora(rank=3)) == found


def test_the_launch_command_names_every_rank() -> None:
    path = find("paper/math-7b-ds")
    command = launch_command(load(path), path)
    assert command[command.index("--num_processes") + 1] == "8"
    assert command[command.index("--config_file") + 1].endswith("fsdp8.yaml")
    assert command[-1] == str(path)


def _weights(config: Training) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(config.folder / "final" / "model.safetensors"))


def test_killed_by_the_system_and_resumed_by_the_same_command(tmp_path: Path, capsys: Any) -> None:
    """``kill -9`` while it runs; the same command then gives the uninterrupted run's weights."""
    import torch

    whole = load(tiny(tmp_path, "whole", steps=40))
    assert main(["train", str(tmp_path / "tiny.yaml")]) == 0
    assert str(whole.folder) in capsys.readouterr().out.splitlines()[-1]
    path = tiny(tmp_path, "killed", steps=40)
    killed = load(path)
    command = [sys.executable, "-W", "ignore", "-m", "diffsmooth.cli", "train", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not list(killed.folder.glob("checkpoint-[3-9]")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not records.done(killed.folder / "run.json")
    assert main(["train", str(path)]) == 0
    a, b = _weights(whole), _weights(killed)
    assert all(torch.equal(a[k], b[k]) for k in a)
    # Done is done: nothing is run again, and the log holds every step that was logged.
    before = (killed.folder / "run.json").stat().st_mtime_ns
    assert main(["train", str(path)]) == 0
    assert (killed.folder / "run.json").stat().st_mtime_ns == before
    log = records.read_table(killed.folder / "log.parquet").to_pylist()
    whole_log = records.read_table(whole.folder / "log.parquet").to_pylist()
    names = {"smoothing/correct", "smoothing/term_to_advantage", "reward", "entropy"}
    steps = [(r["step"], r["name"], r["value"]) for r in log if r["name"] in names]
    assert steps == [(r["step"], r["name"], r["value"]) for r in whole_log if r["name"] in names]


@pytest.mark.parametrize("asked", ["smal/grpo", "grpo", "small/grpo.yml"])
def test_a_wrong_name_names_the_nearest_configuration_first(asked: str) -> None:
    with pytest.raises(FileNotFoundError, match="did you mean small/grpo[?] shipped: paper/"):
        find(asked)
    with pytest.raises(FileNotFoundError, match="no configuration 'poetry'; shipped: paper/"):
        find("poetry")


def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.yaml"
    text = f"name: own\noutput: {tmp_path}/runs\nhardware: {{device: cpu}}\nmodel: {{path: %s}}"
    path.write_text(text % "/nonexist")
    assert main(["train", str(path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith(
        "model.path is '/nonexist': no such folder, and not a hub name (OWNER/NAME)"
    )

    def unreachable(*_: Any) -> None:
        raise OSError("no such repository\nor no network")

    monkeypatch.setattr("diffsmooth.llm.train.trainer", unreachable)
    path.write_text(text % "owner/none")
    assert main(["train", str(path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no folder 'owner/none' here, and as a hub name: no such repository or no net" in error


def test_the_number_of_threads_changes_no_weight_of_a_small_model(tmp_path: Path) -> None:
    import torch

    from diffsmooth.llm.train import fit

    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            config = load(tiny(tmp_path, f"threads-{threads}", steps=4))
            fit(config)
            assert torch.get_num_threads() == threads
            found.append(_weights(config))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][k], found[1][k]) for k in found[0])
