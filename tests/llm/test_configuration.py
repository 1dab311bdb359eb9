"""Configuration files: read strictly, with file, key and line; what has no effect is refused."""

from __future__ import annotations

import codecs
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trl")

from diffsmooth.cli import main
from diffsmooth.llm import small
from diffsmooth.llm._plan import plan
from diffsmooth.llm.configuration import ConfigError, RuleChoice, find, load
from diffsmooth.llm.engines import _options, _yaml

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

TINY = """\
name: tiny
model:
  small: {hidden: 16, layers: 1, heads: 2, intermediate: 24, positions: 32}
data: {style: bare, problems: 8}
rule: {name: centred, parameters: {g_correct: 0.3}}
optimisation: {steps: 2, prompts: 2, group: 4, micro_batch: 8}
generation: {engine: small, max_completion_length: 6}
hardware: {device: cpu, gradient_checkpointing: false}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def over(base: Path, text: str) -> Path:
    path = base.with_name("over.yaml")
    path.write_text(f"extends: tiny.yaml\n{text}\n")
    return path


# -- numbers ------------------------------------------------------------------------------------


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["{:e}", "{:E}", "{:.0e}", "{!r}", "{:+e}", "{:.3f}"]),
)
@settings(max_examples=300)
def test_every_number_of_json_is_that_number(tmp_path_factory: Any, x: float, form: str) -> None:
    """YAML 1.1 reads 1e-2 as text; every way to write a float must give it."""
    file = tmp_path_factory.getbasetemp() / "number.yaml"
    text = form.format(x)
    file.write_text(f"a: {text}\nb: [{text}]\nc: {{d: {text}}}\n")
    data, _ = _yaml.read_mapping(file)
    want = float(text)
    assert data == {"a": want, "b": [want], "c": {"d": want}}
    assert all(type(v) is float for v in (data["a"], data["b"][0], data["c"]["d"]))


def test_numbers_reach_parameters_and_trl_as_numbers(base: Path) -> None:
    config = load(
        over(base, "rule: {parameters: {g_correct: 1e-2}}\ntrl: {adam_epsilon: 1e-8, delta: 2E0}")
    )
    assert config.rule.parameters == {"g_correct": 0.01}
    assert config.trl == {"adam_epsilon": 1e-8, "delta": 2.0}


#: What is written, and the key that the message must name.
BAD = [
    ("rule: {parameters: {g_correct: '1e-2'}}", "rule.parameters.g_correct"),
    ("rule: {parameters: {g_correct: some}}", "rule.parameters.g_correct"),
    ("rule: {parameters: {g_correct: yes}}", "rule.parameters.g_correct"),
    ("rule: {parameters: {g_correct: .nan}}", "rule.parameters.g_correct"),
    ("rule: {parameters: {g_correct: [0.1]}}", "rule.parameters.g_correct"),
    ("rule: {parameters: {reduction: 3}}", "rule.parameters.reduction"),
    ("rule: {parameters: {base: 3}}", "rule.parameters.base"),
    ("rule: {name: quotient, parameters: {quotient: 1}}", "rule.parameters.quotient"),
    ("rule: {name: grpo, parameters: {eps: yes}}", "rule.parameters.eps"),
    ("rule: {name: grpo, parameters: {eps: .inf}}", "rule.parameters.eps"),
    ("rule: {name: pass-at-k, parameters: {k: 2.0}}", "rule.parameters.k"),
    ("rule: {name: maxrl, parameters: {eps: '0'}}", "rule.parameters.eps"),
    ("rule: {name: quotient, parameters: {}, gamma: adaptive}", "rule: gamma"),
    ("rule: {name: mara, parameters: {}}", "rule.name"),
    ("rule: {adaptive: {maximum: .inf}}", "rule.adaptive.maximum"),
    ("trl: {adam_epsilon: '1e-8'}", "trl.adam_epsilon"),
    ("trl: {adam_epsilon: .inf}", "trl.adam_epsilon"),
    ("trl: {top_entropy_quantile: yes}", "trl.top_entropy_quantile"),
    ("trl: {num_iterations: 1.5}", "trl.num_iterations"),
    ("trl: {num_iterations: true}", "trl.num_iterations"),
    ("trl: {mask_truncated_completions: 1}", "trl.mask_truncated_completions"),
    ("trl: {report_to: 3}", "trl.report_to"),
    ("trl: {reward_weights: [a]}", "trl.reward_weights"),
    ("trl: {chat_template_kwargs: {x: .nan}}", "trl.chat_template_kwargs.x"),
    ("trl: {top_k: -1}", "trl.top_k"),
    ("trl: {min_p: 1.5}", "trl.min_p"),
    ("trl: {min_p: -0.1}", "trl.min_p"),
    ("trl: {repetition_penalty: 0}", "trl.repetition_penalty"),
    ("trl: {top_p: 0.5}", "trl.top_p"),
    ("trl: {max_prompt_length: 5}", "trl.max_prompt_length"),
    ("optimisation: {learning_rate: .inf}", "optimisation.learning_rate"),
    ("optimisation: {learning_rate: .nan}", "optimisation.learning_rate"),
    ("optimisation: {learning_rate: -1e-3}", "optimisation.learning_rate"),
    ("optimisation: {learning_rate: true}", "optimisation.learning_rate"),
    ("optimisation: {steps: 0}", "optimisation.steps"),
    ("optimisation: {steps: -1}", "optimisation.steps"),
    ("optimisation: {steps: null, epochs: 0}", "optimisation.epochs"),
    ("optimisation: {steps: null, epochs: -1}", "optimisation.epochs"),
    ("optimisation: {prompts: 0}", "optimisation.prompts"),
    ("optimisation: {group: 1}", "optimisation.group"),
    ("optimisation: {beta: -0.1}", "optimisation.beta"),
    ("optimisation: {epsilon_high: -0.1}", "optimisation.epsilon_high"),
    ("optimisation: {warmup_steps: 3}", "optimisation.warmup_steps"),
    ("optimisation: {warmup_steps: -3}", "optimisation.warmup_steps"),
    ("data: {problems: 1}", "data.problems"),
    ("data: {problems: 0}", "data.problems"),
    ("data: {seed: -1}", "data.seed"),
    ("generation: {top_p: -1}", "generation.top_p"),
    ("generation: {top_p: 0}", "generation.top_p"),
    ("generation: {top_p: 1.01}", "generation.top_p"),
    ("generation: {temperature: 0}", "generation.temperature"),
    ("generation: {temperature: .inf}", "generation.temperature"),
    ("generation: {max_prompt_length: 0}", "generation.max_prompt_length"),
    ("generation: {vllm_memory: 0.5}", "generation.vllm_memory"),
    ("generation: {vllm_tensor_parallel: 2}", "generation.vllm_tensor_parallel"),
    ("hardware: {processes: 0}", "hardware.processes"),
    ("hardware: {processes: -1}", "hardware.processes"),
    ("hardware: {memory_gib: 0}", "hardware.memory_gib"),
    ("checkpoints: {every: -1}", "checkpoints.every"),
    ("checkpoints: {keep: 0}", "checkpoints.keep"),
    ("model: {lora: {rank: 0}}", "model.lora.rank"),
    ("model: {lora: {dropout: 1}}", "model.lora.dropout"),
    ("model: {pretraining: {learning_rate: .inf}}", "model.pretraining"),
    ("seed: -1", "seed"),
    ("seed: 4294967296", "seed"),
    ("name: a/b", "name"),
    ("name: ''", "name"),
    ("seed: 1\nseed: 2", "seed: given twice"),
    ("rule: {parameters: {g_correct: 1, g_correct: 2}}", "rule.parameters.g_correct: given twice"),
    ("on: 1", "'on' is not text"),
]


@pytest.mark.parametrize(("text", "key"), BAD, ids=[t.replace("\n", "; ") for t, _ in BAD])
def test_a_value_that_cannot_be_meant_is_refused_with_file_and_key(
    text: str, key: str, base: Path, capsys: Any
) -> None:
    path = over(base, text)
    assert main(["train", str(path), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert f" {key}" in error


def test_nan_from_python_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="parameters.g_correct"):
        RuleChoice("centred", {"g_correct": float("nan")})


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_marked_encodings_are_read(mark: bytes, encoding: str, base: Path) -> None:
    want = load(base)
    base.write_bytes(mark + TINY.encode(encoding))
    assert load(base) == want
    base.write_bytes(mark + TINY.replace("\n", "\r\n").encode(encoding))
    assert load(base) == want


def test_another_encoding_is_refused_with_its_line(base: Path, capsys: Any) -> None:
    base.write_bytes(TINY.encode() + "# naïve\n".encode("latin-1"))
    assert main(["train", str(base), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert f"{base}: line 9 is not UTF-8 text" in error


def test_the_line_is_named_and_the_file_that_holds_it(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"over.yaml: seed: must be int, got 'x' \(line 4\)$"):
        load(over(base, "\n# a comment\nseed: x"))
    base.write_text(TINY.replace("steps: 2", "steps: two"))
    with pytest.raises(ConfigError, match=r"optimisation.steps: .*\(.*tiny.yaml, line 6\)$"):
        load(over(base, "seed: 1"))
    base.write_text("a: [")
    with pytest.raises(ConfigError, match=r"over.yaml: extends .*tiny.yaml: not YAML: .*line 1"):
        load(over(base, "seed: 1"))


@pytest.mark.parametrize("name", ["small/grpo", "small/grpo.yaml", "paper/math-1.5b-ds"])
def test_a_shipped_configuration_can_be_extended_by_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {name}\nseed: 3\n")
    assert load(path) == dataclasses.replace(load(find(name)), seed=3)


def test_extending_what_does_not_exist_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: paper/math-1.5-ds\n")
    with pytest.raises(ConfigError, match="extends: .*did you mean paper/math-1.5b-ds"):
        load(path)
    (tmp_path / "own.yaml").write_text(TINY)
    path.write_text("extends: own\n")
    assert load(path).name == "tiny"


# -- options that an engine does not read ---------------------------------------------------------

SAMPLE: dict[type, Any] = {bool: True, int: 3, float: 0.5, str: "x", dict: {"a": 1}}


def _value(kind: Any) -> Any:
    return next(value for value in SAMPLE.values() if _options.fits(kind, value))


@pytest.mark.parametrize("engine", ["small", "transformers", "vllm-colocate", "vllm-server"])
def test_an_option_of_another_engine_is_refused_by_name(engine: str) -> None:
    """Every generation option of ``GRPOConfig``: named with the engine, or read by it."""
    from trl import GRPOConfig

    own = {f.name: f.type for f in dataclasses.fields(GRPOConfig)}
    marks = ("vllm_", "transformers_", "use_transformers_", "cache_imp", "generation_kw")
    seen = 0
    for name, kind in own.items():
        if name in _options.RESERVED or not name.startswith(marks):
            continue
        readers = _options.engines_that_read(name)
        assert readers is not None, f"{name} is not in the table"
        if engine in readers:
            _options.check_trl({name: _value(kind)}, engine, False)
        else:
            seen += 1
            with pytest.raises(ConfigError, match=f"trl.{name}: generation.engine {engine}"):
                _options.check_trl({name: _value(kind)}, engine, False)
    assert seen >= 3
    for name, value in (("top_k", 3), ("min_p", 0.1), ("repetition_penalty", 1.5)):
        _options.check_trl({name: value}, engine, False)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ({"generation_kwargs": {"temperature": 2.0}}, "generation.temperature"),
        ({"generation_kwargs": {"max_new_tokens": 2}}, "generation.max_completion_length"),
        ({"model_init_kwargs": {"dtype": "bfloat16"}}, "model.dtype"),
        ({"model_init_kwargs": {"attn_implementation": "eager"}}, "model.attention"),
    ],
)
def test_a_key_of_ones_own_is_not_overruled_from_inside(option: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"set by a key of its own: {key}"):
        _options.check_trl(option, "transformers", False)


# -- the dry run ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model, tok = small.build(small.SmallModel(hidden=16, layers=1, heads=2, intermediate=24))
    return small.save(model, tok, tmp_path / "models" / "bare")


def test_the_dry_run_counts_a_local_model(
    folder: Path, base: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = small.parameters(small.load(folder)[0])
    monkeypatch.chdir(base.parent)
    monkeypatch.setenv("HOME", str(base.parent))
    for name in ("models/bare", "./models/bare/", "~/models/bare", str(folder)):
        path = over(base, f"model: {{small: null, path: {name}}}")
        assert main(["train", str(path), "--dry-run"]) == 0
        assert f"parameters: {want:,}\n" in capsys.readouterr().out


def test_the_dry_run_counts_adapters_of_any_family(base: Path, tmp_path: Path) -> None:
    from transformers import GPT2Config

    GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=11, bos_token_id=1, eos_token_id=1
    ).save_pretrained(tmp_path / "gpt2")
    text = f"model: {{small: null, path: {tmp_path}/gpt2, lora: {{rank: 2, targets: %s}}}}"
    path = over(base, text % "[c_attn]" + "\ngeneration: {engine: transformers}")
    found = plan(load(path), path)
    assert found.trainable == 2 * 2 * (16 + 48)  # layers x rank x (inputs + outputs)
    path = over(base, text % "[q_proj]" + "\ngeneration: {engine: transformers}")
    with pytest.raises(ConfigError, match="model.lora.targets"):
        plan(load(path), path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no config.json"),
        ({"config.json": "{"}, "no readable configuration"),
        ({"config.json": json.dumps({"model_type": "no-such"})}, "no readable configuration"),
        ({"config.json": json.dumps({"model_type": "vit"})}, "no causal language model"),
    ],
)
def test_a_folder_without_a_model_is_said(
    files: dict[str, str], message: str, base: Path, capsys: Any
) -> None:
    made = base.parent / "empty"
    made.mkdir()
    for name, text in files.items():
        (made / name).write_text(text)
    path = over(base, f"model: {{small: null, path: {made}}}\ngeneration: {{engine: transformers}}")
    assert main(["train", str(path), "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "model.path" in captured.err
    assert message in captured.err
    assert captured.err.count("\n") == 1
