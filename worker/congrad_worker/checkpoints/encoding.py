"""From texts to token ids, as TRL's `DPOTrainer`, `SFTTrainer` and `KTOTrainer` do it (TRL 1.16)."""

from typing import Any, cast

import jinja2
from congrad.contract import wire
from congrad.contract.wire import Reason
from transformers import PreTrainedTokenizerBase

from congrad_worker.checkpoints.checks.vocabulary import tokens_without_embedding
from congrad_worker.checkpoints.long_texts import characters, first_tokens, most_characters
from congrad_worker.checkpoints.pairs import EncodedPair, common_prefix
from congrad_worker.errors import Unscorable

Messages = list[dict[str, Any]]
Content = str | Messages

TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a checkpoint's template may raise on a client's messages, tools and variables."""


class Encoder:
    """Encodes samples with one tokenizer.

    :param max_length: tokens of prompt and completion; the end of a longer completion is cut off.
    :param vocabulary: how many token ids the model has embeddings for; None where it has them for all.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int, vocabulary: int | None = None):
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._most_characters = most_characters(tokenizer, max_length)
        unknown = {} if vocabulary is None else tokens_without_embedding(tokenizer, vocabulary)
        self._unknown = {number: token for token, number in unknown.items()}
        self._takes_blocks_only = takes_blocks_only(tokenizer)

    def encode(self, sample: wire.AnySample) -> EncodedPair:
        """Encodes one sample.

        :raises Unscorable: the prompt leaves no room for a completion, as where TRL drops the row; or the chat template
            refuses the conversation.
        :raises ValueError: the sample cannot be encoded; the message says why.
        """
        prompt, *completions = _contents(sample)
        prompt_ids, *sequences = (
            self._encode_text(prompt, cast("list[str]", completions))
            if isinstance(prompt, str)
            else self._encode_messages(sample, prompt, cast("list[Messages]", completions))
        )
        self._check_known(sequences)
        start = min(common_prefix(prompt_ids, ids) for ids in sequences)
        if start >= self._max_length:
            raise Unscorable(
                Reason.PROMPT_TOO_LONG,
                f"the prompt alone has {start} tokens or more and leaves no room for a completion within the maximum "
                f"length of {self._max_length}",
            )
        if start == 0 and not all(sequences):
            raise ValueError("prompt and completion have no tokens at all")
        room = self._max_length - start
        whole = [ids[start:] for ids in sequences]
        chosen_ids, rejected_ids = (ids[:room] for ids in _sides(sample, whole))
        return EncodedPair(
            prompt_ids[:start],
            chosen_ids,
            rejected_ids,
            truncated=max(map(len, whole)) > room,
            ref_logps=_ref_logps(sample),
        )

    def _check_known(self, sequences: list[list[int]]) -> None:
        """:raises ValueError: a token has no embedding."""
        if self._unknown and (found := self._unknown.keys() & {number for ids in sequences for number in ids}):
            raise ValueError(f"it holds {self._unknown[min(found)]!r}, for which the model has no embedding")

    def _encode_text(self, prompt: str, completions: list[str]) -> list[list[int]]:
        end = self._tokenizer.eos_token or ""
        texts = [prompt, *(prompt + c if c.endswith(end) else prompt + c + end for c in completions)]
        return first_tokens(self._tokenizer, texts, self._max_length, self._most_characters)

    def _encode_messages(
        self, sample: wire.AnySample, prompt: Messages, completions: list[Messages]
    ) -> list[list[int]]:
        if not self._tokenizer.chat_template:
            raise ValueError(
                "it holds messages, but the checkpoint's tokenizer (that in the model's folder) has no chat template"
            )
        if isinstance(sample, wire.Sample) and (fault := wire.missing_prompt(sample)):
            raise ValueError(fault)
        return [
            self._render(sample, prompt, add_generation_prompt=True),
            *(self._render(sample, prompt + completion) for completion in completions),
        ]

    def _render(self, sample: wire.AnySample, messages: Messages, add_generation_prompt: bool = False) -> list[int]:
        messages = [_in_blocks(message) for message in messages] if self._takes_blocks_only else messages
        variables = cast("dict[str, Any]", sample.chat_template_kwargs or {})
        is_long = characters([messages, sample.tools, variables]) > self._most_characters
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages,
                tools=cast("list[Any] | None", sample.tools),  # an empty list is not the same to templates as none
                add_generation_prompt=add_generation_prompt,
                tokenize=not is_long,
                return_dict=not is_long,
                **variables,
            )
        except TEMPLATE_ERRORS as error:
            detail = f"the checkpoint's chat template refuses it: {error}"
            raise Unscorable(Reason.TEMPLATE_REFUSED, detail) from error
        if is_long:
            texts = [cast("str", rendered)]
            size = self._most_characters
            return first_tokens(self._tokenizer, texts, self._max_length, size, add_special_tokens=False)[0]
        return cast("dict[str, list[int]]", rendered)["input_ids"]


def takes_blocks_only(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template passes over a text that is not within a list of blocks. Those of some multimodal models
    do, LLaVA's among them: TRL gives a processor blocks whatever a row has."""
    text = "congrad"
    message = {"role": "user", "content": text}
    try:
        plain, blocks = (
            cast("str", tokenizer.apply_chat_template([one], tokenize=False)) for one in (message, _in_blocks(message))
        )
    except TEMPLATE_ERRORS:  # there is none, or it takes no such message: rows will tell
        return False
    return text not in plain and text in blocks


def _in_blocks(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    return message | {"content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _contents(sample: wire.AnySample) -> tuple[Content, ...]:
    """The prompt, and the one completion or both."""
    if isinstance(sample, wire.PromptCompletion):
        return _plain(sample.prompt), _plain(sample.completion)
    return explicit_prompt(sample)


def _sides(sample: wire.AnySample, completions: list[list[int]]) -> tuple[list[int], list[int]]:
    """Chosen and rejected. An only completion is chosen unless its label says otherwise; the other has no tokens."""
    if isinstance(sample, wire.Sample):
        chosen, rejected = completions
        return chosen, rejected
    (only,) = completions
    return ([], only) if sample.label is False else (only, [])


def _ref_logps(sample: wire.AnySample) -> tuple[float, float] | None:
    if isinstance(sample, wire.PromptCompletion):
        return None
    chosen, rejected = sample.ref_chosen_logps, sample.ref_rejected_logps
    return None if chosen is None or rejected is None else (chosen, rejected)


def explicit_prompt(sample: wire.Sample) -> tuple[Content, Content, Content]:
    """Prompt, chosen and rejected of a sample; a missing prompt is the longest common prefix of the two.

    A prompt that is a string beside completions that are messages is a copy of their first turn in many public
    data sets, and the common prefix is taken there too.
    """
    chosen, rejected = _plain(sample.chosen), _plain(sample.rejected)
    if sample.prompt is not None and isinstance(sample.prompt, str) == isinstance(chosen, str):
        return _plain(sample.prompt), chosen, rejected
    shared = _implicit_prompt(chosen, rejected)
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _implicit_prompt(chosen: Content, rejected: Content) -> int:
    """Where the prompt ends in both, as an index for slices: TRL's `extract_prompt`.

    Where one is the beginning of the other its last character or turn is left to the completions. A space before the
    end goes to the completions, as tokenizers glue it to the word behind it; where nothing at all is shared, that
    space is looked for at the end of ``chosen``, and the index is -1.
    """
    shared = common_prefix(chosen, rejected)
    if shared == min(len(chosen), len(rejected)):
        return max(shared - 1, 0)
    return shared - 1 if chosen[shared - 1] == " " else shared


def _plain(content: str | list[wire.Message]) -> Content:
    # transformers drops a message's nulls before a template sees them; nulls within tool calls stay.
    return content if isinstance(content, str) else [message.model_dump(exclude_none=True) for message in content]
