"""Whether every token that a tokenizer can give has an embedding.

A token without one is an index error on a CPU. On a GPU it is an assertion of the device's, which ends all that the
process could compute there.
"""

import logging
import re
from collections.abc import Mapping

from transformers import PreTrainedTokenizerBase

from congrad_worker.errors import CheckpointError

SHOWN = 3
"""Tokens in one message."""

MARKER = re.compile("image|video|audio")
"""In special tokens that stand for what is no text. Tokenizers of language models may have them of their multimodal
siblings, as Gemma 3's has, and no text has them unless somebody writes them out."""

log = logging.getLogger(__name__)


def check_vocabulary(setting: str, tokenizer: PreTrainedTokenizerBase, embeddings: int) -> None:
    """Compares a tokenizer with a model's embeddings.

    :param setting: what names the model, for messages.
    :param embeddings: how many the model has.
    :raises CheckpointError: the tokenizer has more tokens, and not as markers of what is no text.
    """
    without = tokens_without_embedding(tokenizer, embeddings)
    if texts := [token for token, number in without.items() if not _is_marker(tokenizer, number)]:
        shown = ", ".join(f"{token!r} ({without[token]})" for token in texts[:SHOWN])
        more = f" and {len(texts) - SHOWN} more" * (len(texts) > SHOWN)
        raise CheckpointError(
            f"{setting}: has {embeddings} embeddings, and the tokenizer tokens beyond them: {shown}{more}; call the "
            "model's resize_token_embeddings, or save the tokenizer that it was trained with"
        )
    if without:
        log.warning("%s has no embedding for %s; samples with such a token are refused", setting, ", ".join(without))


def tokens_without_embedding(tokenizer: PreTrainedTokenizerBase, embeddings: int) -> dict[str, int]:
    """The tokens whose ids are beyond the embeddings, in the order of their ids."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    if max(vocabulary.values(), default=-1) < embeddings:
        return {}
    return {token: number for token, number in sorted(vocabulary.items(), key=lambda i: i[1]) if number >= embeddings}


def _is_marker(tokenizer: PreTrainedTokenizerBase, number: int) -> bool:
    added = tokenizer.added_tokens_decoder.get(number)
    return added is not None and added.special and MARKER.search(added.content) is not None
