"""Sampling with vLLM (extra ``[vllm]``, a GPU): the fast route for large models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffsmooth.llm._sample_transformers import base_of
from diffsmooth.llm.samplers import Completion, Finish, Sampling, prompt_text
from diffsmooth.llm.tasks.base import Problem


class VllmSampler:
    """A vLLM engine in this process; ``tensor_parallel`` GPUs share the model.

    Every request carries its problem's seed.  vLLM's own numerics may still depend on what else
    is in the batch.
    """

    def __init__(
        self,
        model: str,
        adapter: str | None = None,
        *,
        dtype: str = "auto",
        tensor_parallel: int = 1,
        engine: dict[str, Any] | None = None,
    ) -> None:
        try:
            from vllm import LLM
        except ImportError as error:
            raise ImportError("vllm is missing: pip install 'diffsmooth[vllm]'") from error
        base, adapter = base_of(model, adapter)
        self.llm = LLM(
            model=base,
            dtype=dtype,
            tensor_parallel_size=tensor_parallel,
            enable_lora=adapter is not None,
            generation_config="vllm",  # not the model's stored sampling defaults
            **(engine or {}),
        )
        self.lora = None
        if adapter is not None:
            from vllm.lora.request import LoRARequest

            self.lora = LoRARequest("adapter", 1, adapter)
        self.tokenizer = self.llm.get_tokenizer()

    def sample(
        self, problems: Sequence[Problem[Any]], sampling: Sampling
    ) -> list[list[Completion]]:
        """``sampling.samples`` completions of each problem, in order."""
        from vllm import SamplingParams

        prompts, parameters = [], []
        for problem in problems:
            text, special = prompt_text(self.tokenizer, problem, sampling)
            ids = self.tokenizer(text, add_special_tokens=special)["input_ids"]
            prompts.append({"prompt_token_ids": list(ids)})
            parameters.append(
                SamplingParams(
                    n=sampling.samples,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=sampling.top_k,
                    max_tokens=sampling.max_tokens,
                    stop=list(sampling.stop) or None,
                    include_stop_str_in_output=True,
                    seed=sampling.seed_of(problem),
                )
            )
        results = self.llm.generate(prompts, parameters, lora_request=self.lora, use_tqdm=False)
        found = []
        for result in results:
            ordered = sorted(result.outputs, key=lambda o: o.index)
            found.append([Completion(o.text, len(o.token_ids), _finish(o)) for o in ordered])
        return found


def _finish(output: Any) -> Finish:
    reason = output.finish_reason
    return reason if reason in ("stop", "length") else "unknown"
