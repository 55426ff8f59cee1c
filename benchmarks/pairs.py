"""Real preference pairs, cut and joined to a wanted length and a wanted share of prompt.

What sharing a prompt is worth depends on how much of the text is prompt. So the share is set, exactly, on real text:
a prompt that is too long is cut at its start, completions at their end; where they are too short, earlier pairs of
the same language stand before the prompt as earlier turns do, and the next ones' completions are joined on.
"""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path

from congrad.contract import wire
from congrad.files.samples import read_samples
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.pairs import EncodedPair
from transformers import PreTrainedTokenizerBase

MEDIAN_TOKENS, SPREAD = 320, 0.5
"""Lengths of the longer row are log-normal, as those of instruction data are: half lie between 230 and 450 tokens."""
SHORTEST = 64
MAX_JOINED = 64
"""Pairs that are joined to one, at most."""


@dataclass(frozen=True)
class PairSet:
    """The pairs of one measurement."""

    pairs: list[EncodedPair]

    @property
    def two_row_tokens(self) -> int:
        """Tokens where each prompt stands twice: what TRL's rows hold without their padding."""
        return sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in self.pairs)

    @property
    def distinct_tokens(self) -> int:
        """Tokens where each prompt stands once."""
        return self.two_row_tokens - sum(len(p.prompt_ids) for p in self.pairs)

    @property
    def prompt_share(self) -> float:
        """2P / (2P + C₁ + C₂)."""
        return 2 * (self.two_row_tokens - self.distinct_tokens) / self.two_row_tokens

    def describe(self) -> dict[str, float]:
        """Counts for the report."""
        lengths = sorted(p.length for p in self.pairs)
        return {
            "pairs": len(self.pairs),
            "two_row_tokens": self.two_row_tokens,
            "distinct_tokens": self.distinct_tokens,
            "prompt_share": round(self.prompt_share, 4),
            "row_tokens_min": lengths[0],
            "row_tokens_median": lengths[len(lengths) // 2],
            "row_tokens_max": lengths[-1],
        }


def read_encoded(path: Path, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[EncodedPair]]:
    """The pairs of a file by language, as the worker encodes them, uncut."""
    encoder = Encoder(tokenizer, max_length=1_000_000)
    by_language: defaultdict[str, list[EncodedPair]] = defaultdict(list)
    for row in read_samples(path):
        sample = wire.Sample.model_validate(row)
        by_language[sample.language].append(_apart(encoder.encode(sample)))
    return dict(by_language)


def _apart(pair: EncodedPair) -> EncodedPair:
    """The pair with what both completions begin with in the prompt: the loss is the same, and the share is honest."""
    both = zip(pair.chosen_ids, pair.rejected_ids, strict=False)
    shared = sum(1 for _ in takewhile(lambda ids: ids[0] == ids[1], both))
    prompt = pair.prompt_ids + pair.chosen_ids[:shared]
    return EncodedPair(prompt, pair.chosen_ids[shared:], pair.rejected_ids[shared:], truncated=False)


def make_pairs(
    by_language: dict[str, list[EncodedPair]], count: int, prompt_share: float, max_length: int, seed: int = 0
) -> PairSet:
    """``count`` pairs, the languages in turn, whose two rows are by ``prompt_share`` prompt.

    :raises ValueError: the file does not hold as many.
    """
    draw = random.Random(seed)  # noqa: S311 # lengths and orders
    languages = [draw.sample(pairs, len(pairs)) for _, pairs in sorted(by_language.items())]
    made: list[EncodedPair] = []
    for turn in range(max(map(len, languages), default=0)):
        for pairs in languages:
            length = round(min(max(draw.lognormvariate(math.log(MEDIAN_TOKENS), SPREAD), SHORTEST), max_length))
            pair = _shaped(pairs[turn:] + pairs[:turn], length, prompt_share) if turn < len(pairs) else None
            if pair is not None and len(made) < count:
                made.append(pair)
    if len(made) < count:
        raise ValueError(f"the file gives {len(made)} pairs with a prompt share of {prompt_share}, not {count}")
    return PairSet(made)


def _shaped(pairs: Sequence[EncodedPair], length: int, prompt_share: float) -> EncodedPair | None:
    """The first of ``pairs`` with as much of the others as the length needs; None where that is not possible."""
    if pairs[0].is_tie:
        return None
    first, others = pairs[0], pairs[1 : MAX_JOINED + 1]
    prompt, chosen, rejected = _sizes(first, length, prompt_share)
    before = chain.from_iterable(o.prompt_ids + o.chosen_ids for o in reversed(others))
    shaped = EncodedPair(
        [*before, *first.prompt_ids][-prompt:],
        _joined([first.chosen_ids, *(o.chosen_ids for o in others)], chosen),
        _joined([first.rejected_ids, *(o.rejected_ids for o in others)], rejected),
        truncated=False,
    )
    whole = (len(shaped.prompt_ids), len(shaped.chosen_ids), len(shaped.rejected_ids)) == (prompt, chosen, rejected)
    return shaped if whole and not shaped.is_tie else None


def _joined(pieces: Sequence[list[int]], length: int) -> list[int]:
    return list(islice(chain.from_iterable(pieces), length))


def _sizes(pair: EncodedPair, length: int, prompt_share: float) -> tuple[int, int, int]:
    """Tokens of prompt, chosen and rejected, where the longer row has about ``length`` tokens and the completions
    relate as the pair's own do, but at most 1 to 4."""
    own = (len(pair.chosen_ids), len(pair.rejected_ids))
    relation = max(min(own) / max(*own, 1), 0.25)
    prompts_per_completion = prompt_share / (1 - prompt_share) / 2  # P = this · (C₁ + C₂)
    longer = int(length / (1 + prompts_per_completion * (1 + relation)))
    shorter = max(int(relation * longer), 1)

    def rest(candidate: int) -> float:
        tokens = prompts_per_completion * (candidate + shorter)
        return abs(tokens - round(tokens))

    # A token or two less makes the prompt a whole number of tokens.
    longer = min(range(longer, max(longer - 8, 1), -1), key=rest)
    prompt = max(round(prompts_per_completion * (longer + shorter)), 1)
    return (prompt, longer, shorter) if own[0] >= own[1] else (prompt, shorter, longer)


def batches(pairs: Sequence[EncodedPair], max_tokens: int) -> list[list[EncodedPair]]:
    """Pairs of like length together, each batch of at most ``max_tokens`` tokens in two padded rows a pair."""
    groups: list[list[EncodedPair]] = []
    for pair in sorted(pairs, key=lambda p: -p.length):
        # The first of a group is its longest, so it sets the padded length.
        if groups and 2 * (len(groups[-1]) + 1) * groups[-1][0].length <= max_tokens:
            groups[-1].append(pair)
        else:
            groups.append([pair])
    return groups
