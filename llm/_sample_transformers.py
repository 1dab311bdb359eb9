"""Sampling with transformers: any folder or hub name, base or adapter, CPU or GPU.

One problem at a time, its samples as one batch: slower than vLLM for few samples a problem, but
the bytes depend on nothing but the configuration.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffsmooth.llm.samplers import Completion, Sampling, ask_hub, prompt_text
from diffsmooth.llm.tasks.base import Problem


def base_of(model: str, adapter: str | None) -> tuple[str, str | None]:
    """(base model, adapter) of what was asked for; an adapter folder names its own base.

    Raises ``ValueError`` where both ``model`` and ``adapter`` are adapters.
    """
    config = Path(model) / "adapter_config.json"
    if not config.is_file():
        return model, adapter
    if adapter is not None:
        raise ValueError(f"model {model!r} is an adapter itself; adapter must not be given too")
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"adapter {model!r} names no base model; give model and adapter")
    return str(base), model


class TransformersSampler:
    """A model in this process.  ``batch`` is the largest number of rows generated at once.

    ``device`` is ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ...; ``dtype`` is
    ``"auto"`` (as stored), ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    """

    def __init__(
        self,
        model: str,
        adapter: str | None = None,
        *,
        batch: int = 64,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if batch < 1:
            raise ValueError(f"batch is {batch}; allowed: at least 1")
        base, adapter = base_of(model, adapter)
        self.batch = batch
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        )
        ask_hub(base)
        holder = base if adapter is None or not _has_tokenizer(adapter) else adapter
        self.tokenizer = AutoTokenizer.from_pretrained(holder)
        network = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        self._neutral_generation(network)
        if adapter is not None:
            from peft import PeftModel

            # Not merged: in half precision merging would round the adapter away.
            network = PeftModel.from_pretrained(network, adapter)
        self.model = network.to(self.device).eval()

    def _neutral_generation(self, network: Any) -> None:
        """Keep the stored end and padding tokens, drop every other stored sampling default.

        On the base model, before an adapter wraps it: a wrapper's own attribute is not read.
        """
        from transformers import GenerationConfig

        stored = network.generation_config
        eos = (
            stored.eos_token_id if stored.eos_token_id is not None else self.tokenizer.eos_token_id
        )
        if eos is None:
            raise ValueError("the model has no end-of-sequence token; it could never stop")
        self.eos: list[int] = [eos] if isinstance(eos, int) else list(eos)
        pad = self.tokenizer.pad_token_id
        self.pad: int = self.eos[0] if pad is None else pad
        network.generation_config = GenerationConfig(
            eos_token_id=self.eos, pad_token_id=self.pad, bos_token_id=stored.bos_token_id
        )

    def sample(
        self, problems: Sequence[Problem[Any]], sampling: Sampling
    ) -> list[list[Completion]]:
        """``sampling.samples`` completions of each problem, in order."""
        return [self._one(problem, sampling) for problem in problems]

    def _one(self, problem: Problem[Any], sampling: Sampling) -> list[Completion]:
        text, special = prompt_text(self.tokenizer, problem, sampling)
        encoded = self.tokenizer(text, return_tensors="pt", add_special_tokens=special)
        ids = encoded["input_ids"].to(self.device)
        found: list[Completion] = []
        for chunk in range(0, -(-sampling.samples // self.batch)):
            rows = min(self.batch, sampling.samples - chunk * self.batch)
            with _seeded(sampling.seed_of(problem, chunk), self.device):
                found += self._generate(ids, rows, sampling)
        return found

    def _generate(self, ids: Any, rows: int, sampling: Sampling) -> list[Completion]:
        import torch

        options: dict[str, Any] = {"do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            options |= {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
            }
        if sampling.stop:
            options["stopping_criteria"] = [self._stop_criterion(ids.shape[1], sampling.stop)]
        with torch.inference_mode():
            output = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.max_tokens,
                num_return_sequences=rows,
                **options,
            )
        return [self._completion(row, sampling) for row in output[:, ids.shape[1] :].tolist()]

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _stop_criterion(self, start: int, stop: tuple[str, ...]) -> Callable[..., Any]:
        """Which rows hold a stop text by now, as ``generate`` asks it after every token.

        transformers' own ``stop_strings`` need a vocabulary that can spell "abcdef".
        """
        import torch

        window = 2 * max(map(len, stop)) + 8

        def ended(ids: Any, scores: Any, **options: Any) -> Any:
            tails = ids[:, max(start, ids.shape[1] - window) :].tolist()
            found = [any(mark in self._text(tail) for mark in stop) for tail in tails]
            return torch.tensor(found, device=ids.device)

        return ended

    def _completion(self, row: list[int], sampling: Sampling) -> Completion:
        end = next((i for i, token in enumerate(row) if token in self.eos), None)
        drawn = row if end is None else row[:end]
        text = self._text(drawn)
        marks = [(text.find(mark) + len(mark), mark) for mark in sampling.stop if mark in text]
        if marks:
            cut, mark = min(marks)
            used = _first(lambda n: mark in self._text(drawn[:n]), len(drawn))
            return Completion(text[:cut], used, "stop")
        # The end token was drawn too, so it counts.
        if end is None:
            return Completion(text, len(row), "length")
        return Completion(text, end + 1, "stop")


def _first(holds: Callable[[int], bool], last: int) -> int:
    """Smallest n in 1..last with ``holds(n)``, which stays true from there on."""
    return bisect_left(range(1, last), True, key=holds) + 1


def _has_tokenizer(folder: str) -> bool:
    return (Path(folder) / "tokenizer_config.json").is_file()


@contextmanager
def _seeded(seed: int, device: Any) -> Iterator[None]:
    """Torch's random state from ``seed`` inside, as it was afterwards."""
    import torch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
