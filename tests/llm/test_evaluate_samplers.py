"""Backends: transformers on a model made here, a stub server on the loopback, vLLM's call."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from diffsmooth.llm._sample_server import ServerError, ServerSampler
from diffsmooth.llm._sample_transformers import TransformersSampler, base_of
from diffsmooth.llm.evaluate import evaluate
from diffsmooth.llm.evaluation import Evaluation
from diffsmooth.llm.samplers import Completion, Sampling, prompt_text
from diffsmooth.llm.tasks.base import Problem
from diffsmooth.records import read_table

RAW = [Problem("a", "1,2=3:", None, raw=True), Problem("b", "4,5=9:", None, raw=True)]
CHAT = [Problem("c", "What is 1+2?", None)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 3,000 parameters with a character tokenizer, saved."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    vocabulary = {t: i for i, t in enumerate(["<pad>", "<eos>", *"0123456789+-*/()=,:"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            eos_token_id=1,
            pad_token_id=0,
            bos_token_id=None,
        )
    )
    # Stored sampling defaults that must not leak into an evaluation.
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=1, temperature=0.01, suppress_tokens=[4, 5, 6], eos_token_id=1
    )
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def sampler(folder: Path) -> TransformersSampler:
    return TransformersSampler(str(folder), batch=8, device="cpu")


SAMPLING = Sampling(samples=12, max_tokens=6)


def test_samples_depend_on_the_problem_and_the_seed_only(sampler: TransformersSampler) -> None:
    import torch

    both = sampler.sample(RAW, SAMPLING)
    assert [len(found) for found in both] == [12, 12]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert sampler.sample(RAW[1:], SAMPLING) == both[1:]
    assert torch.equal(state, torch.get_rng_state())
    assert both[0] != both[1]
    assert sampler.sample(RAW[:1], Sampling(samples=12, max_tokens=6, seed=1)) != both[:1]


def test_stored_sampling_defaults_do_not_leak(sampler: TransformersSampler) -> None:
    """With the stored top_k = 1 all samples of a problem would be one text."""
    (found,) = sampler.sample(RAW[:1], SAMPLING)
    assert len({c.text for c in found}) > 4


def test_lengths_and_ends(sampler: TransformersSampler) -> None:
    (found,) = sampler.sample(RAW[:1], Sampling(samples=200, max_tokens=6))
    assert {c.finish for c in found} == {"stop", "length"}
    for c in found:
        assert "<" not in c.text
        if c.finish == "length":
            assert c.tokens == 6
        else:
            assert c.tokens is not None
            assert c.tokens <= 6


def test_first_tokens_follow_the_softmax(sampler: TransformersSampler) -> None:
    """4,000 draws of one token against the model's own probabilities, temperature 2: chi-square
    with 20 degrees of freedom is below 60 but for one seed in 10^5."""
    import torch

    tokenizer = sampler.tokenizer
    with torch.inference_mode():
        logits = sampler.model(**tokenizer(RAW[0].prompt, return_tensors="pt")).logits[0, -1]
    law = torch.softmax(logits.double() / 2.0, 0).tolist()
    big = TransformersSampler.__new__(TransformersSampler)
    big.__dict__.update(sampler.__dict__ | {"batch": 4000})
    (found,) = big.sample(RAW[:1], Sampling(samples=4000, max_tokens=1, temperature=2.0))
    counts = dict.fromkeys(range(len(law)), 0)
    for c in found:
        counts[tokenizer.convert_tokens_to_ids(c.text) if c.text else 1] += 1
    # The padding token decodes to nothing too, so it is counted with the end.
    expected = [4000 * (law[i] + (law[0] if i == 1 else 0.0)) for i in range(1, len(law))]
    observed = [counts[i] for i in range(1, len(law))]
    assert sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True)) < 60


def test_greedy_and_truncation(sampler: TransformersSampler) -> None:
    greedy = sampler.sample(RAW, Sampling(samples=1, temperature=0.0, max_tokens=6))
    top = sampler.sample(RAW, Sampling(samples=3, top_k=1, max_tokens=6))
    assert [[g] * 3 for (g,) in greedy] == top
    tiny = sampler.sample(RAW, Sampling(samples=3, top_p=1e-6, max_tokens=6))
    assert tiny == top


def test_stop_texts_end_an_answer_and_stay_in_it(sampler: TransformersSampler) -> None:
    (found,) = sampler.sample(RAW[:1], Sampling(samples=100, max_tokens=8, stop=("1", "2", "3")))
    stopped = [c for c in found if any(mark in c.text for mark in "123")]
    assert stopped
    for c in stopped:
        assert c.text[-1] in "123"
        assert not set("123") & set(c.text[:-1])
        assert c.finish == "stop"
        assert c.tokens is not None
        assert c.tokens >= len(c.text)  # a padding token may be drawn and has no text


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_adapters_are_applied(folder: Path, tmp_path: Path, sampler: TransformersSampler) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    tuned.save_pretrained(tmp_path / "idle")
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.fill_(3.0)
    tuned.save_pretrained(tmp_path / "tuned")
    base = sampler.sample(RAW, SAMPLING)
    idle = TransformersSampler(str(folder), str(tmp_path / "idle"), batch=8, device="cpu")
    assert idle.sample(RAW, SAMPLING) == base
    alone = TransformersSampler(str(tmp_path / "tuned"), batch=8, device="cpu")
    both = TransformersSampler(str(folder), str(tmp_path / "tuned"), batch=8, device="cpu")
    assert alone.sample(RAW, SAMPLING) == both.sample(RAW, SAMPLING) != base
    assert base_of(str(tmp_path / "tuned"), None) == (str(folder), str(tmp_path / "tuned"))
    with pytest.raises(ValueError, match="adapter itself"):
        base_of(str(tmp_path / "tuned"), "other")


def test_chat_templates_are_used_where_there_are_some() -> None:
    class Templated:
        chat_template = "x"

        def apply_chat_template(self, messages: Any, **options: Any) -> str:
            assert options == {"tokenize": False, "add_generation_prompt": True}
            return "|".join(f"{m['role']}:{m['content']}" for m in messages)

    sampling = Sampling(system="Be brief.")
    assert prompt_text(Templated(), CHAT[0], sampling) == (
        "system:Be brief.|user:What is 1+2?",
        False,
    )
    assert prompt_text(Templated(), RAW[0], sampling) == ("1,2=3:", True)
    plain = SimpleNamespace(chat_template=None)
    assert prompt_text(plain, CHAT[0], sampling) == ("Be brief.\n\nWhat is 1+2?", True)


def test_a_real_chat_template() -> None:
    from diffsmooth.llm.small import tokenizer

    tok = tokenizer()
    tok.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert prompt_text(tok, CHAT[0], Sampling(system="S")) == (
        "[system]S[user]What is 1+2?[assistant]",
        False,
    )


def evaluation(out: Path, **changes: Any) -> Evaluation:
    return Evaluation(
        style="bare", limit=5, shard=2, resamples=20, sampling=SAMPLING, out=out, **changes
    )


class Stop(Exception):
    pass


def test_a_real_model_interrupted_goes_on_with_the_same_bytes(
    folder: Path, sampler: TransformersSampler, tmp_path: Path
) -> None:
    def stop(finished: int, total: int) -> None:
        if finished >= 4:
            raise Stop

    whole = evaluate(evaluation(tmp_path / "a", model=str(folder)), sampler=sampler)
    with pytest.raises(Stop):
        evaluate(evaluation(tmp_path / "b", model=str(folder)), sampler=sampler, progress=stop)
    rest = evaluate(evaluation(tmp_path / "b", model=str(folder)), sampler=sampler)
    for file in sorted(p.relative_to(whole) for p in whole.rglob("*.*")):
        assert (whole / file).read_bytes() == (rest / file).read_bytes()


Reply = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]


class Stub:
    """A server on the loopback whose answers a test scripts; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.reply: Reply = choices
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append((self.path, body, self.headers["Authorization"]))
                status, value = stub.reply(self.path, body)
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def choices(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What a good server says, in reverse order."""
    found = []
    for i in reversed(range(body["n"])):
        text = f"{body['seed']}/{i}"
        content = {"message": {"content": text}} if "chat" in path else {"text": text}
        ended = {"finish_reason": "stop", "stop_reason": None}  # by the model's own end
        found.append({"index": i, **ended, **content})
    return 200, {"choices": found}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    for name in ("http_proxy", "HTTP_PROXY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    stub = Stub()
    thread = threading.Thread(target=stub.server.serve_forever, args=(0.01,))
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


def test_server_gets_the_sampling_and_the_right_endpoint(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    sampling = Sampling(samples=3, temperature=0.7, top_p=0.9, stop=("x",), system="S", seed=5)
    server = ServerSampler("m", stub.url, parallel=1)
    found = server.sample([*RAW, *CHAT], sampling)
    for problem, texts in zip([*RAW, *CHAT], found, strict=True):
        seed = sampling.seed_of(problem)
        assert texts == [Completion(f"{seed}/{i}", None, "stop") for i in range(3)]
    path, body, key = stub.asked[0]
    assert (path, body["prompt"], key) == ("/v1/completions", "1,2=3:", "Bearer k")
    assert body["model"] == "m"
    assert (body["temperature"], body["top_p"], body["stop"]) == (0.7, 0.9, ["x"])
    assert "top_k" not in body
    path, body, _ = stub.asked[2]
    assert path == "/v1/chat/completions"
    assert [m["role"] for m in body["messages"]] == ["system", "user"]


def test_an_evaluation_through_a_server(stub: Stub, tmp_path: Path) -> None:
    stub.reply = lambda path, body: (
        200,
        {"choices": [{"index": i, "text": "1+1"} for i in range(body["n"])]},
    )
    folder = evaluate(evaluation(tmp_path, model="m", backend="server", url=stub.url))
    rows = read_table(folder / "problems.parquet").to_pylist()
    assert [row["self_similarity"] for row in rows] == [1.0] * 5
    assert {row["tokens"] for row in rows} == {None}
    assert len(stub.asked) == 5


def test_servers_that_ignore_n_are_asked_again_with_other_seeds(stub: Stub) -> None:
    stub.reply = lambda path, body: choices(path, body | {"n": 1})
    (found,) = ServerSampler("m", stub.url).sample(RAW[:1], Sampling(samples=4))
    assert len({c.text for c in found}) == len(found) == 4
    assert [body["n"] for _, body, _ in stub.asked] == [4, 3, 2, 1]


def test_passing_failures_are_retried_and_lasting_ones_are_said(stub: Stub) -> None:
    answers = iter([(503, {}), (429, {})])
    stub.reply = lambda path, body: next(answers, None) or choices(path, body)
    server = ServerSampler("m", stub.url, wait=0.001)
    assert len(server.sample(RAW[:1], Sampling(samples=2))[0]) == 2
    assert len(stub.asked) == 3
    stub.reply = lambda path, body: (404, {"error": "no model m"})
    with pytest.raises(ServerError, match="answered 404.*no model m"):
        server.sample(RAW[:1], Sampling(samples=2))
    assert len(stub.asked) == 4
    stub.reply = lambda path, body: (500, {})
    with pytest.raises(ServerError, match="after 2 attempts"):
        ServerSampler("m", stub.url, wait=0.001, attempts=2).sample(RAW[:1], Sampling(samples=2))
    stub.reply = lambda path, body: (200, {"choices": []})
    with pytest.raises(ServerError, match="gave no choices"):
        server.sample(RAW[:1], Sampling(samples=2))


def test_an_absent_server_is_said() -> None:
    gone = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = gone.server_port
    gone.server_close()
    server = ServerSampler("m", f"http://127.0.0.1:{port}/v1", wait=0.001, attempts=2)
    with pytest.raises(ServerError, match="not reachable"):
        server.sample(RAW[:1], Sampling(samples=1))
    with pytest.raises(ValueError, match="url is 'localhost'"):
        ServerSampler("m", "localhost")


def test_vllm_is_called_as_its_interface_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in with vLLM's names; the engine itself needs a GPU and is not run here."""
    made: dict[str, Any] = {}

    class Engine:
        def __init__(self, **options: Any) -> None:
            made["engine"] = options

        def get_tokenizer(self) -> Any:
            def tokenize(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
                assert add_special_tokens
                return {"input_ids": [ord(c) for c in text]}

            tokenize.chat_template = None  # type: ignore[attr-defined]
            return tokenize

        def generate(self, prompts: Any, parameters: Any, **options: Any) -> list[Any]:
            made["call"] = (prompts, parameters, options)
            outputs = [
                SimpleNamespace(index=i, text=str(i), token_ids=[1, 2], finish_reason="length")
                for i in (1, 0)
            ]
            return [SimpleNamespace(outputs=outputs) for _ in prompts]

    vllm, lora = ModuleType("vllm"), ModuleType("vllm.lora.request")
    vllm.LLM, vllm.SamplingParams = Engine, lambda **options: options  # type: ignore[attr-defined]
    lora.LoRARequest = lambda *args: args  # type: ignore[attr-defined]
    for name, module in (
        ("vllm", vllm),
        ("vllm.lora", ModuleType("l")),
        ("vllm.lora.request", lora),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    from diffsmooth.llm._sample_vllm import VllmSampler

    sampling = Sampling(samples=2, max_tokens=7)
    found = VllmSampler("base", "lora", tensor_parallel=2).sample(RAW, sampling)
    assert found == [[Completion("0", 2, "length"), Completion("1", 2, "length")]] * 2
    assert made["engine"]["model"] == "base"
    assert made["engine"]["enable_lora"]
    assert made["engine"]["tensor_parallel_size"] == 2
    prompts, parameters, options = made["call"]
    assert prompts[0] == {"prompt_token_ids": [ord(c) for c in RAW[0].prompt]}
    assert [p["seed"] for p in parameters] == [sampling.seed_of(p) for p in RAW]
    assert parameters[0]["n"] == 2
    assert options["lora_request"] == ("adapter", 1, "lora")


def test_missing_vllm_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    from diffsmooth.llm._sample_vllm import VllmSampler

    with pytest.raises(ImportError, match=r"diffsmooth\[vllm\]"):
        VllmSampler("m")
