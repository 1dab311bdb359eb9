"""Models made from scratch: a character tokenizer, a Llama of 0.1 M parameters, a lean sampler.

Nothing is downloaded: the architecture is ``transformers``' own ``LlamaForCausalLM``, shrunk, so
that every line of the training path (trainer, checkpoints, cache, loss) is the one a 7B run takes.
``pretrain`` teaches such a model the answers of a task by plain supervised learning;
``sample`` draws answers with a key-value cache, computing a repeated prompt once and dropping
finished rows, and returns the log-probabilities of what it drew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsmooth.llm.tasks.countdown import BARE_ALPHABET, bare_prompt
from diffsmooth.llm.tasks.countdown_data import Generator

if TYPE_CHECKING:
    import torch

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
SPECIAL = (PAD, EOS, UNKNOWN)


@dataclass(frozen=True)
class SmallModel:
    """Shape of a Llama made from scratch; the default has 102,080 parameters."""

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    intermediate: int = 176
    positions: int = 64
    characters: str = BARE_ALPHABET
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "intermediate", "positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"SmallModel.{name} is {getattr(self, name)}; it must be >= 1")
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError(
                f"SmallModel.hidden={self.hidden} must be heads={self.heads} times an even number"
            )
        if len(set(self.characters)) != len(self.characters) or not self.characters:
            raise ValueError("SmallModel.characters must be non-empty and without repetition")


@dataclass(frozen=True)
class Pretraining:
    """Supervised pre-training: ``steps`` batches of fresh examples, AdamW, warm-up then cosine."""

    steps: int = 700
    batch: int = 128
    learning_rate: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not 0 <= self.warmup <= self.steps:
            raise ValueError("Pretraining needs steps >= 1, batch >= 1 and 0 <= warmup <= steps")
        if not self.learning_rate > 0:
            raise ValueError(f"Pretraining.learning_rate is {self.learning_rate}; it must be > 0")


@dataclass(frozen=True)
class Sampled:
    """``sample``'s answer.

    ``ids[i]`` are the tokens of answer ``i`` (the end token included, where it was drawn) and
    ``logps[i]`` their log-probabilities (nats) under the model's tempered softmax: the policy that
    a trainer's loss and a rule speak of.  Where nothing is truncated or penalised that is the law
    they were drawn from.
    """

    ids: list[list[int]]
    logps: list[list[float]]


def tokenizer(characters: str = BARE_ALPHABET) -> Any:
    """A tokenizer with one token per character, made here (``PreTrainedTokenizerFast``)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {t: i for i, t in enumerate([*SPECIAL, *characters])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def shape_of(config: SmallModel) -> Any:
    """The ``transformers`` configuration of a small model."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(config.characters),
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=SPECIAL.index(EOS),
        pad_token_id=SPECIAL.index(PAD),
        initializer_range=1.0 / math.sqrt(config.hidden),
        attn_implementation="sdpa",
    )


def build(config: SmallModel | None = None) -> tuple[Any, Any]:
    """Random model and tokenizer: ``(LlamaForCausalLM, tokenizer)``; same seed, same weights."""
    import torch
    from transformers import LlamaForCausalLM

    config = config or SmallModel()
    tok = tokenizer(config.characters)
    llama = shape_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(llama)
    return model.float(), tok


def parameters(model: Any) -> int:
    """Number of parameters, tied ones once."""
    return sum(int(p.numel()) for p in model.parameters())


def save(model: Any, tok: Any, folder: Path, notes: dict[str, Any] | None = None) -> Path:
    """Write model and tokenizer to ``folder`` so that ``from_pretrained`` (or TRL) reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    if notes is not None:
        (folder / "made_by_diffsmooth.json").write_text(json.dumps(notes, indent=1, sort_keys=True))
    return folder


def load(
    folder: Path | str, *, dtype: str = "float32", attention: str | None = None
) -> tuple[Any, Any]:
    """Model (its weights in ``dtype``) and tokenizer from a folder; never asks a hub.

    ``attention``: the implementation by transformers' name, ``None`` for its own choice.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (Path(folder) / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no model (no config.json)")
    options = {} if attention is None else {"attn_implementation": attention}
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    tok = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model.to(getattr(torch, dtype)), tok


def pretrain(
    model: Any,
    tok: Any,
    examples: Callable[[Any, int], Sequence[tuple[str, str]]],
    config: Pretraining | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Teach ``model`` to answer, by cross-entropy on the answer's tokens and the end token.

    ``examples(rng, n)`` gives ``n`` pairs (prompt, answer) drawn with the ``numpy`` generator
    ``rng``.  Returns the loss (nats per token) of every step.  Same seeds, same weights on CPU.
    """
    import numpy as np
    import torch

    config = config or Pretraining()
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(config.seed)))
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )

    def rate(step: int) -> float:
        if step < config.warmup:
            return (step + 1) / config.warmup
        done = (step - config.warmup) / max(1, config.steps - config.warmup)
        return 0.5 * (1 + math.cos(math.pi * done)) * 0.98 + 0.02

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    model.train()
    losses: list[float] = []
    for step in range(config.steps):
        ids, mask, labels = _batch(tok, examples(rng, config.batch))
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(step + 1, losses[-1])
    return losses


def _batch(
    tok: Any, pairs: Sequence[tuple[str, str]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right-padded ids, attention mask and labels (-100 outside the answer), each (B, T)."""
    import torch

    prompts = tok([p for p, _ in pairs])["input_ids"]
    answers = [[*ids, tok.eos_token_id] for ids in tok([a for _, a in pairs])["input_ids"]]
    width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    ids = torch.full((len(pairs), width), tok.pad_token_id)
    mask = torch.zeros((len(pairs), width), dtype=torch.long)
    labels = torch.full((len(pairs), width), -100)
    for row, (p, a) in enumerate(zip(prompts, answers, strict=True)):
        end = len(p) + len(a)
        ids[row, :end] = torch.tensor(p + a)
        mask[row, :end] = 1
        labels[row, len(p) : end] = torch.tensor(a)
    return ids, mask, labels


def sample(
    model: Any,
    prompt_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos: int | Sequence[int],
    pad: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    generator: torch.Generator | None = None,
    repeat: int = 1,
) -> Sampled:
    """Draw ``repeat`` answers to every prompt (in prompt order), with a key-value cache.

    Consecutive equal prompts are computed once and their cache repeated; rows that have ended
    leave the batch.  An answer ends with the first token of ``eos``.  ``temperature`` divides the
    logits (> 0); ``repetition_penalty``, ``top_k``, ``top_p`` and ``min_p`` are those of
    ``transformers``' ``generate``, in its order.  ``generator`` defaults to
    torch's global one, which is what the trainer's checkpoints keep.

    Raises ``ValueError`` for an empty batch or prompt, ``max_new_tokens < 1`` and options out of
    range.
    """
    import torch
    from transformers.cache_utils import DynamicCache

    ends_with = [eos] if isinstance(eos, int) else list(eos)
    warpers = _warpers(temperature, top_p, top_k, min_p, repetition_penalty)

    if not prompt_ids or not all(len(p) for p in prompt_ids):
        raise ValueError("prompt_ids: at least one prompt, and none of them empty")
    if max_new_tokens < 1 or repeat < 1:
        raise ValueError("max_new_tokens and repeat must be >= 1")
    unique: list[list[int]] = []
    counts: list[int] = []
    for ids in prompt_ids:
        if unique and list(ids) == unique[-1]:
            counts[-1] += repeat
        else:
            unique.append(list(ids))
            counts.append(repeat)

    device = next(model.parameters()).device
    width = max(map(len, unique))
    tokens = torch.full((len(unique), width), pad, device=device)
    mask = torch.zeros((len(unique), width), dtype=torch.long, device=device)
    for row, ids in enumerate(unique):
        tokens[row, width - len(ids) :] = torch.tensor(ids, device=device)
        mask[row, width - len(ids) :] = 1
    padded = not bool(mask.all())  # without padding no mask is needed: attention is faster
    total = sum(counts)
    out = torch.full((total, max_new_tokens), pad, device=device)
    logps = torch.zeros((total, max_new_tokens), device=device)
    lengths = torch.full((total,), max_new_tokens, device=device)

    was_training = model.training
    model.eval()
    with torch.inference_mode():
        cache = DynamicCache(config=model.config)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        result = model(
            input_ids=tokens,
            attention_mask=mask if padded else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        repeats = torch.tensor(counts, device=device)
        select = torch.repeat_interleave(torch.arange(len(unique), device=device), repeats)
        cache.batch_select_indices(select)
        logits = result.logits[select, -1]
        mask, position = mask[select], positions[select, -1:]
        rows = torch.arange(total, device=device)
        stop = torch.tensor(ends_with, device=device)
        seen = None if repetition_penalty == 1 else _seen(unique, logits.shape[-1], select)
        for step in range(max_new_tokens):
            scores = logits.float() / temperature
            law = torch.log_softmax(scores, dim=-1)
            kept = scores if seen is None else _penalised(scores, seen, repetition_penalty)
            for warper in warpers:
                kept = warper(None, kept)
            chances = law.exp() if kept is scores else kept.softmax(dim=-1)
            drawn = torch.multinomial(chances, 1, generator=generator)
            out[rows, step] = drawn[:, 0]
            logps[rows, step] = law.gather(1, drawn)[:, 0]
            if seen is not None:
                seen.scatter_(1, drawn, True)
            alive = ~torch.isin(drawn[:, 0], stop)
            lengths[rows[~alive]] = step + 1
            if step + 1 == max_new_tokens or not bool(alive.any()):
                break
            if not bool(alive.all()):
                keep = alive.nonzero()[:, 0]
                cache.batch_select_indices(keep)
                rows, drawn, mask, position = rows[keep], drawn[keep], mask[keep], position[keep]
                seen = None if seen is None else seen[keep]
            position = position + 1
            if padded:
                mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
            logits = model(
                input_ids=drawn,
                attention_mask=mask if padded else None,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
    model.train(was_training)
    ends = lengths.tolist()
    return Sampled(
        ids=[row[:n] for row, n in zip(out.tolist(), ends, strict=True)],
        logps=[row[:n] for row, n in zip(logps.tolist(), ends, strict=True)],
    )


def _warpers(
    temperature: float, top_p: float, top_k: int, min_p: float | None, repetition_penalty: float
) -> list[Any]:
    """``transformers``' own truncations in the order of its ``generate``: top-k, top-p, min-p.

    Raises ``ValueError`` for an option out of range.
    """
    from transformers.generation import logits_process as warp

    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature is {temperature}; it must be finite and > 0")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it must be > 0 and <= 1 (1: all tokens)")
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 0:
        raise ValueError(f"top_k is {top_k}; it must be a whole number >= 0 (0: all tokens)")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError(f"min_p is {min_p}; it must be >= 0 and <= 1")
    if not (repetition_penalty > 0 and math.isfinite(repetition_penalty)):
        raise ValueError(
            f"repetition_penalty is {repetition_penalty}; it must be finite and > 0 (1: none)"
        )
    found: list[Any] = []
    if top_k:
        found.append(warp.TopKLogitsWarper(top_k))
    if top_p < 1:
        found.append(warp.TopPLogitsWarper(top_p))
    if min_p:
        found.append(warp.MinPLogitsWarper(min_p))
    return found


def _seen(prompts: Sequence[Sequence[int]], vocabulary: int, select: torch.Tensor) -> torch.Tensor:
    """(B, V) bool: which tokens stand in each row's prompt."""
    import torch

    seen = torch.zeros((len(prompts), vocabulary), dtype=torch.bool, device=select.device)
    for row, ids in enumerate(prompts):
        seen[row, torch.tensor(list(ids), device=select.device)] = True
    return seen[select]


def _penalised(scores: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Scores of tokens seen before, divided by ``penalty`` where positive, else times it.

    Source: 1909.05858, section 4.1, as in ``transformers`` (a temperature may come before or
    after); without the padding of its batches.
    """
    import torch

    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
    """TRL's ``rollout_func`` for small models: answers and log-probs by :func:`sample`.

    One answer per entry of ``prompts`` (the trainer has already repeated each prompt), each a text
    or a list of messages, which goes through the chat template.  All of the trainer's options of
    sampling are read.  TRL then scores, standardises and optimises as always; the
    log-probabilities reach the rule as the engine's own, as those of vLLM would.
    """
    from diffsmooth.llm._token_ids import token_ids

    tok = trainer.processing_class
    ids = token_ids(
        tok, prompts, getattr(trainer, "chat_template_kwargs", None),
        getattr(trainer, "chat_template", None),
    )  # fmt: skip
    drawn = sample(
        trainer.accelerator.unwrap_model(trainer.model),
        ids,
        max_new_tokens=trainer.max_completion_length,
        eos=getattr(trainer, "eos_token_ids", None) or tok.eos_token_id,
        pad=tok.pad_token_id,
        temperature=trainer.temperature,
        top_p=trainer.top_p,
        top_k=trainer.top_k or 0,
        min_p=trainer.min_p,
        repetition_penalty=trainer.repetition_penalty,
    )
    return {"prompt_ids": ids, "completion_ids": drawn.ids, "logprobs": drawn.logps}


def pretrain_countdown(
    folder: Path,
    shape: SmallModel,
    pretraining: Pretraining,
    generator: Generator,
    progress: Callable[[int, float], None] | None = None,
) -> Path:
    """Make a model, teach it CountDown (training split only), write it to ``folder``.

    The folder appears whole or not at all, so that a killed run leaves nothing that looks done.
    """
    import os
    import shutil
    import tempfile
    from itertools import islice

    import numpy as np

    model, tok = build(shape)
    puzzles = generator.stream("train", np.random.SeedSequence([pretraining.seed, 1]))

    def examples(rng: Any, count: int) -> list[tuple[str, str]]:
        return [(bare_prompt(p), p.solution or "") for p in islice(puzzles, count)]

    losses = pretrain(model, tok, examples, pretraining, progress)
    notes = {
        "model": asdict(shape),
        "pretraining": asdict(pretraining),
        "generator": asdict(generator),
        "parameters": parameters(model),
        "last_loss": losses[-1],
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    save(model, tok, partial, notes)
    if not (partial / "config.json").is_file():
        raise RuntimeError(
            f"{partial}: the model was not written; transformers saves on rank 0 only"
        )
    partial.chmod(0o755)  # mkdtemp makes it private
    try:
        os.rename(partial, folder)
    except OSError:  # another process was first: its model is the same
        shutil.rmtree(partial)
        if not (folder / "config.json").is_file():
            raise
    return folder
