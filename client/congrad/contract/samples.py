"""A sample as it is sent, a preference pair or a prompt with its completion: TRL's columns, and a language."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    JsonValue,
    StrictBool,
    Tag,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from congrad.contract.tags.languages import normalise_language
from congrad.contract.validation.bounded import few_fields

IMAGE_COLUMNS = ("image", "images")
NO_IMAGES = "images are not supported: a sample should be text, without a column image or images"
"""Where TRL looks for images; their samples are refused, as scores of the text alone would pass for theirs."""

CONVERSATION = "messages"
"""Where TRL has whole conversations; a row with nothing else is refused, as nothing says where its prompt ends."""

NOT_SPLIT = (
    "a conversation in messages does not say what is to be judged: its last turn should be the completion, "
    "all turns before it the prompt (or, for a preference pair, the last turn of each chosen and rejected)"
)

MAX_DEPTH = 64
"""Levels of objects and lists in tools, tool calls and template variables: whatever reads them recurses."""

RESERVED_TEMPLATE_KWARGS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "conversations",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""Arguments of the tokenizer's `apply_chat_template` that are no variables of a template: some would run a template of
the client's (`chat_template`), others would make token ids differ from those that are trained on."""


def _is_unicode(text: str) -> str:
    """JSON can smuggle half of a surrogate pair into a string; nothing downstream can encode it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"has a lone surrogate at character {error.start}, so it is not Unicode text") from None
    return text


def _is_plain(value: Any, levels: int = MAX_DEPTH) -> Any:
    """Refuses what a JSON object may hold in Python and what breaks further on: NaN, half a surrogate pair, no end."""
    if isinstance(value, str):
        _is_unicode(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}, which is not a finite number")
    elif isinstance(value, dict | list):
        if levels == 0:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _is_plain(item, levels - 1)
    return value


Text = Annotated[str, AfterValidator(_is_unicode)]
JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_is_plain)]
Number = Annotated[FiniteFloat, Field(strict=True)]
SampleId = Annotated[Text, Field(min_length=1, max_length=256)]
Language = Annotated[
    Text,
    AfterValidator(normalise_language),
    Field(
        description="A BCP 47 tag, an ISO 639-3 or FLORES code, or an English name; answers have one tag a language.",
        json_schema_extra={"format": "bcp47", "examples": ["de", "zh-Hant", "deu_Latn", "German"]},
    ),
]


class Request(BaseModel):
    """Refuses unknown fields, so that a misspelt option is an error and not a silent default."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, data: Any) -> Any:
        return few_fields(data)


class TextBlock(Request):
    """A piece of a message's content."""

    type: Literal["text"]
    text: Text

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, data: Any) -> Any:
        kind = data.get("type", "text") if isinstance(data, dict) else "text"
        if kind != "text":
            raise ValueError(f"is of type {str(kind)[:40]!r}: images and other media are not supported, only text")
        return data


def _text_or_blocks(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "blocks" if isinstance(value, Sequence) else None


# `fail_fast`, here and below: a list has one error, however many of its items are at fault; `bounded` says why.
MessageContent = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[TextBlock], Field(fail_fast=True), Tag("blocks")],
    Discriminator(
        _text_or_blocks,
        custom_error_type="text_or_blocks",
        custom_error_message="should be a string or a list of {type: text, text} blocks",
    ),
]


class Message(Request):
    """One turn of a conversation, with the keys that chat templates read. A null is the same as no key.

    ``tool_calls`` are what an assistant calls, with or without ``content``; ``name`` and ``tool_call_id`` say what a
    tool's answer belongs to. Reasoning goes by any of three names: transformers gives a template the one it reads.
    """

    role: Annotated[Text, Field(min_length=1, max_length=64)]
    content: MessageContent | None = None
    name: Text | None = None
    tool_calls: Annotated[list[JsonObject], Field(fail_fast=True)] | None = None
    tool_call_id: Text | None = None
    reasoning_content: Text | None = None
    thinking: Text | None = None
    reasoning: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Message":
        if self.content is None and not self.tool_calls:
            raise ValueError("content should be given where there are no tool_calls")
        return self


def _text_or_messages(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "messages" if isinstance(value, Sequence) else None


Content = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[Message], Field(min_length=1, fail_fast=True), Tag("messages")],
    Discriminator(
        _text_or_messages,
        custom_error_type="text_or_messages",
        custom_error_message="should be a string or a list of {role, content} messages",
    ),
]


def _parsed(tools: Any) -> Any:
    """Tools as `datasets` stores them where their schemas differ from row to row: a string of JSON."""
    if not isinstance(tools, str):
        return tools
    try:
        return json.loads(tools)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is a string, but not of JSON: {error}") from None


def _are_template_variables(kwargs: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if reserved := sorted(RESERVED_TEMPLATE_KWARGS & kwargs.keys()):
        raise ValueError(f"may hold variables of the chat template only, not {', '.join(reserved)}")
    return kwargs


Tools = Annotated[
    Annotated[list[JsonObject], Field(fail_fast=True)] | None,
    BeforeValidator(_parsed, json_schema_input_type=list[JsonObject] | str | None),
]
TemplateKwargs = Annotated[JsonObject, AfterValidator(_are_template_variables)]


def _without_default(schema: dict[str, Any]) -> None:
    """The default is for Python: in JSON a missing prompt is missing, and not null."""
    del schema["default"]


PAIR = ("chosen", "rejected")
COMPLETIONS = (*PAIR, "completion")


class _Sample(Request):
    """What both kinds of sample have in common."""

    id: SampleId | None = None
    language: Language

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.keys().isdisjoint(IMAGE_COLUMNS):
            raise ValueError(NO_IMAGES)
        return data


class Sample(_Sample):
    """A preference pair with its language.

    ``prompt`` may be missing: it is then the longest common prefix of ``chosen`` and ``rejected``, as in TRL.
    ``id`` defaults to the position in the request. The other columns are TRL's too. The two log-probabilities, in
    nats and summed over the completion, replace the reference model for this sample. ``tools`` (JSON schemas, or
    a string of them) and ``chat_template_kwargs`` are handed to the chat template; where the pair is plain text no
    template is applied, and they are ignored.
    """

    prompt: Content | SkipJsonSchema[None] = Field(default=None, json_schema_extra=_without_default)
    chosen: Content
    rejected: Content
    ref_chosen_logps: Number | None = None
    ref_rejected_logps: Number | None = None
    tools: Tools = None
    chat_template_kwargs: TemplateKwargs | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_no_conversation(cls, data: Any) -> Any:
        if isinstance(data, dict) and CONVERSATION in data and data.keys().isdisjoint(COMPLETIONS):
            raise ValueError(NOT_SPLIT)
        return data

    @model_validator(mode="before")
    @classmethod
    def _prompt_is_missing_or_given(cls, data: Any) -> Any:
        # The annotation allows None for "missing"; a null that was sent is a mistake in the caller's data.
        if isinstance(data, dict) and "prompt" in data and data["prompt"] is None:
            raise ValueError("prompt should be a string or a list of messages, or be left out; it is null")
        return data

    @model_validator(mode="after")
    def _fields_agree(self) -> "Sample":
        if isinstance(self.chosen, str) != isinstance(self.rejected, str):
            raise ValueError("chosen and rejected should both be strings or both be lists of messages")
        if isinstance(self.chosen, str) and isinstance(self.prompt, list):
            raise ValueError("prompt is a list of messages, so chosen and rejected should be too")
        if (self.ref_chosen_logps is None) != (self.ref_rejected_logps is None):
            raise ValueError("ref_chosen_logps and ref_rejected_logps should be given together")
        return self


class PromptCompletion(_Sample):
    """A prompt with its one completion and their language.

    Without a ``label`` it is for workers that are served with ``CONGRAD_LOSS=sft``. With one, which says whether the
    completion is wanted, it is a row of TRL's unpaired preferences, for workers with the loss ``kto`` or
    ``apo_zero_unpaired``. ``id``, ``tools`` and ``chat_template_kwargs`` are those of a `Sample`.
    """

    prompt: Content
    completion: Content
    label: StrictBool | None = None
    tools: Tools = None
    chat_template_kwargs: TemplateKwargs | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_one_completion(cls, data: Any) -> Any:
        if isinstance(data, dict) and (others := [name for name in PAIR if name in data]):
            raise ValueError(
                f"has a completion beside {' and '.join(others)}: a sample should be either a preference pair, with "
                "chosen and rejected, or a prompt with its one completion"
            )
        return data

    @model_validator(mode="after")
    def _fields_agree(self) -> "PromptCompletion":
        if isinstance(self.prompt, str) != isinstance(self.completion, str):
            raise ValueError("prompt and completion should both be strings or both be lists of messages")
        return self


LABEL = "label"
"""Of a completion. A column of this name can also be of other uses: it is taken where its values are booleans."""

FIELDS = tuple(dict.fromkeys(("id", "language", "prompt", *COMPLETIONS, LABEL, *Sample.model_fields)))
"""Of both kinds, the most important first."""

COLUMNS = (*FIELDS, *IMAGE_COLUMNS, CONVERSATION)
"""What is looked at in the rows of a table: also what is refused."""


def model_of(sample: Any) -> type[Sample] | type[PromptCompletion]:
    """The kind of a sample, or of the JSON of one."""
    if isinstance(sample, Mapping):
        return PromptCompletion if "completion" in sample else Sample
    return PromptCompletion if isinstance(sample, PromptCompletion) else Sample


AnySample = Annotated[
    Annotated[Sample, Tag(Sample.__name__)] | Annotated[PromptCompletion, Tag(PromptCompletion.__name__)],
    Discriminator(lambda sample: model_of(sample).__name__),
]


def without_others(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a table's row that make one sample of it.

    A table has columns for other uses, and those of both kinds where its rows are of both: a completion beside a whole
    pair is left out, and so are messages beside any of the three, and nulls of the other kind. A label is a
    completion's, and a boolean.
    """
    given = {name for name in COMPLETIONS if row.get(name) is not None}
    if not given:
        return dict(row)
    is_pair = "completion" not in given or given.issuperset(PAIR)
    others = {CONVERSATION, *(("completion",) if is_pair else set(PAIR) - given)}
    if is_pair or not isinstance(row.get(LABEL), bool):
        others.add(LABEL)
    return {name: value for name, value in row.items() if name not in others}
