"""A small Llama that has learnt the languages of a world, but no preference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.planted.vocabulary import CONCEPTS, SPECIAL
from benchmarks.planted.world import Author
from benchmarks.rows import IGNORED

WIDTH = 64
LEARNING_RATE = 4e-3
BATCH = 64
WARM_UP = 50
EMBEDDING_SCALE = 0.05
CONCEPT, LANGUAGE, OWN = 0.8, 0.4, 0.4
"""Of an embedding at the start: how much of it a concept's words share, how much a language's, and a word's own."""


def build(tokenizer: PreTrainedTokenizerFast, languages: int) -> LlamaForCausalLM:
    """Two layers at random, with torch's generator. Embeddings begin aligned across languages, as they are in a
    multilingual model; learning that from texts alone would take most of a run."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    concepts, tags = torch.randn(1, len(CONCEPTS), WIDTH), torch.randn(languages, 1, WIDTH)
    own = torch.randn(languages, len(CONCEPTS), WIDTH)
    words = EMBEDDING_SCALE * (CONCEPT * concepts + LANGUAGE * tags + OWN * own)
    embeddings = cast("torch.nn.Embedding", model.get_input_embeddings())
    with torch.no_grad():
        embeddings.weight[len(SPECIAL) :] = words.flatten(0, 1)  # [languages * concepts, width]
    return model


@dataclass(frozen=True)
class Batch:
    """Texts as rows, padded at the end; labels are `IGNORED` in prompts and padding."""

    input_ids: Tensor  # int64 [texts, tokens]
    labels: Tensor  # int64 [texts, tokens]


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, str]]) -> Batch:
    """Prompts and their answers, each with the end of sequence behind it."""
    prompts: list[list[int]] = tokenizer([prompt for prompt, _ in texts])["input_ids"]
    rows: list[list[int]] = tokenizer([prompt + answer + tokenizer.eos_token for prompt, answer in texts])["input_ids"]
    tokens = max(map(len, rows))
    pad = tokenizer.pad_token_id
    labels = [
        [IGNORED] * len(prompt) + row[len(prompt) :] + [IGNORED] * (tokens - len(row))
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    return Batch(torch.tensor([row + [pad] * (tokens - len(row)) for row in rows]), torch.tensor(labels))


def loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Nats a token of the answers."""
    logits = model(input_ids=batch.input_ids, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED)


def pretrain(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, author: Author, steps: int) -> None:
    """AdamW with a short warm-up and a cosine to nearly nothing; every text is new."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
    )
    model.train()
    for _ in range(steps):
        batch = encode(tokenizer, [author.text() for _ in range(BATCH)])
        optimizer.zero_grad()
        loss(model, batch).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.train(False)
