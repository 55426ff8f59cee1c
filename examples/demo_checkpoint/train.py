"""Trains the tiny multilingual language model that the demo loads, from scratch, on the text beside this script.

    python examples/demo_checkpoint/train.py [--out DIR] [--steps N] [--seed N]

Every line of ``text/<language>.txt`` is one document: a statement, or a question and its answer with a tab between
them. Statements are trained as plain text, questions and answers through the chat template. The number of steps is
fixed, not the time, so that one seed gives one checkpoint on one kind of machine.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.utils import clip_grad_norm_
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

HERE = Path(__file__).resolve().parent
TEXT = HERE / "text"
OUT = HERE.parents[1] / "client" / "congrad" / "demo_data" / "checkpoint"

PAD, BOS, EOS, USER, ASSISTANT = SPECIALS = ["<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"]
VOCABULARY = 4096
CONTEXT = 256
# GPT-2's pattern, with combining marks counted as letters: without them every Hindi vowel sign ends a word.
WORDS = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
# Special tokens stand at every boundary, so the tokens of a prompt are a prefix of those of prompt and completion.
CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- "<|user|>" + message.content }}
    {%- elif message.role == "assistant" %}
        {{- "<|assistant|>" + message.content + eos_token }}
    {%- else %}
        {{- raise_exception("the demo checkpoint knows the roles user and assistant, not " + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|assistant|>" }}
{%- endif %}
"""

# Eleven epochs: about as many as one core works through in a minute and a half.
STEPS = 1300
BATCH = 2
LEARNING_RATE = 3e-3
# Most tokens are rare in so little text: at 0.95 the second moment forgets them between two of their steps.
BETAS = (0.9, 0.98)
# Strong, and the warm-up long: with seed 0 each lowered the held-out perplexity of so small a text.
WEIGHT_DECAY = 0.5
WARM_UP = 0.2
# Tensors this small gain a quarter from a second thread, and where its core is busy every operation waits for it.
# One thread also adds in one order, whatever the machine's number of cores.
THREADS = 1
HELD_OUT_EVERY = 20
REPORTS = 10


def read_lines(folder: Path) -> list[str]:
    """The documents of all languages, language after language."""
    return [
        line
        for file in sorted(folder.glob("*.txt"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def hold_out(lines: list[str], generator: torch.Generator) -> tuple[list[str], list[str]]:
    """Splits off one random line of every twenty; neighbours are of one language, so each language gives its share."""
    kept, held_out = [], []
    for start in range(0, len(lines), HELD_OUT_EVERY):
        block = lines[start : start + HELD_OUT_EVERY]
        chosen = int(torch.randint(len(block), (), generator=generator))
        held_out.append(block.pop(chosen))
        kept += block
    return kept, held_out


def train_tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: no character of any language is unknown to it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((part for line in lines for part in line.split("\t")), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def encode(line: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of one document, from <|bos|> to <|eos|>."""
    question, tab, answer = line.partition("\t")
    if not tab:
        return [*tokenizer(line)["input_ids"], tokenizer.eos_token_id]
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    encoding: Any = tokenizer.apply_chat_template(messages)
    return list(encoding["input_ids"])


def packed_batches(documents: list[list[int]], generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Endless batches of full rows: the documents in a new order each epoch, joined and cut at the context length.

    What is left at the end of an epoch begins the next, so no token is lost and none is padding.
    """
    stream: list[int] = []
    need = BATCH * CONTEXT
    while True:
        for index in torch.randperm(len(documents), generator=generator).tolist():
            stream += documents[index]
            if len(stream) >= need:
                yield torch.tensor(stream[:need]).view(BATCH, CONTEXT)  # [rows, tokens]
                stream = stream[need:]


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of about 1.1 million parameters, freshly initialised in float32."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def train(model: LlamaForCausalLM, batches: Iterator[torch.Tensor], steps: int) -> None:
    """AdamW under a cosine schedule; prints the loss ten times on the way."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    schedule = get_cosine_schedule_with_warmup(optimizer, int(WARM_UP * steps), steps)
    for step in range(1, steps + 1):
        rows = next(batches)
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % max(1, steps // REPORTS) == 0:
            print(f"step {step:4d} of {steps}: loss {loss.item():.3f}", flush=True)


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, documents: list[list[int]]) -> float:
    """exp of the mean negative log-likelihood per token, each document on its own; <|bos|> is given, not scored."""
    nats, tokens = 0.0, 0
    for ids in documents:
        row = torch.tensor([ids])  # [1, tokens]
        scored = len(ids) - 1
        nats += model(input_ids=row, labels=row).loss.item() * scored
        tokens += scored
    return math.exp(nats / tokens)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes the checkpoint in the Hugging Face layout."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # safetensors leaves its file to its owner alone, and a worker in a container is somebody else.
    (out / "model.safetensors").chmod(0o644)


def main(
    out: Annotated[Path, typer.Option(help="Directory of the checkpoint.")] = OUT,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps; fewer for a trial run.")] = STEPS,
    seed: Annotated[int, typer.Option(help="Seed of the split, the weights and the order of the text.")] = 0,
) -> None:
    """Trains the demo's checkpoint and prints its held-out perplexity."""
    started = time.monotonic()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    kept, held_out = hold_out(read_lines(TEXT), generator)
    tokenizer = train_tokenizer(kept)
    documents = [encode(line, tokenizer) for line in kept]
    model = build_model(tokenizer)
    print(f"{len(kept)} lines, {sum(map(len, documents))} tokens, {model.num_parameters()} parameters")

    train(model, packed_batches(documents, generator), steps)
    model.bfloat16()
    value = perplexity(model, [encode(line, tokenizer) for line in held_out])
    print(f"held-out perplexity: {value:.1f} per token, over {len(held_out)} lines")
    save(model, tokenizer, out)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB, after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    typer.run(main)
