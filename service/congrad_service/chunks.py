"""Splitting a request into tasks."""

from collections.abc import Iterable, Iterator, Sequence

from congrad import wire

BYTES_PER_TOKEN = 3
"""A rough figure across scripts and tokenizers: the service has no tokenizer, and the split only balances work."""


def split(samples: Sequence[wire.Sample], tokens: int) -> list[list[wire.Sample]]:
    """Cuts ``samples`` into runs of at most ``tokens`` estimated tokens each, and at least one sample each."""
    return list(_runs(samples, tokens))


def _runs(samples: Iterable[wire.Sample], tokens: int) -> Iterator[list[wire.Sample]]:
    run: list[wire.Sample] = []
    used = 0
    for sample in samples:
        cost = estimated_tokens(sample)
        if run and used + cost > tokens:
            yield run
            run, used = [], 0
        run.append(sample)
        used += cost
    if run:
        yield run


def estimated_tokens(sample: wire.Sample) -> int:
    """Tokens of the pair's two sequences, prompt and completion each."""
    size = 2 * _size(sample.prompt) + _size(sample.chosen) + _size(sample.rejected)
    return size // BYTES_PER_TOKEN + 1


def _size(content: str | list[wire.Message] | None) -> int:
    if content is None:
        return 0
    if isinstance(content, str):
        return len(content.encode())
    return sum(len(message.content.encode()) for message in content)
