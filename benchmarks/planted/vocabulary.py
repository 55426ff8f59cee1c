"""The words of the made-up languages. No two languages share one; concept by concept they mean the same."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

SYMBOLS = 8
"""Counting is modulo this."""
OPENINGS = 3
"""Words that announce counting up, and as many that announce counting down."""
CLOSINGS = 3
"""Words of one manner that end an answer, and as many of another."""
GREETINGS = 3
"""Words of one manner that begin an answer, and as many of the other."""
SPECIAL = ("<pad>", "</s>", "<unk>")

CONCEPTS = (
    "tag",
    "count",
    "skip",
    "=",
    *(f"symbol{i}" for i in range(SYMBOLS)),
    *(f"open{i}" for i in range(2 * OPENINGS)),
    *(f"greet{i}" for i in range(2 * GREETINGS)),
    *(f"close{i}" for i in range(2 * CLOSINGS)),
)
"""What each language has a word for."""


def language_tags(count: int) -> list[str]:
    """``qaa``, ``qab``, ...: codes that are free for private use."""
    return [f"q{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(count)]


def word(language: str, concept: str) -> str:
    """A language's word for a concept."""
    return f"{language}:{concept}"


def tokenizer(languages: list[str]) -> PreTrainedTokenizerFast:
    """A token a word: the special ones first, then each language's concepts in order."""
    words = [*SPECIAL, *(word(language, concept) for language in languages for concept in CONCEPTS)]
    model = Tokenizer(WordLevel({token: i for i, token in enumerate(words)}, unk_token="<unk>"))  # noqa: S106
    model.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=model,
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
    )
