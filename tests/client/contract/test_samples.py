"""What a sample may hold."""

import json
from typing import Any

import pytest
from congrad.contract.samples import MAX_DEPTH, AnySample, Message, PromptCompletion, Sample, without_others
from pydantic import TypeAdapter, ValidationError

PAIR = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
COMPLETION = {"language": "de", "prompt": "p", "completion": "c"}
TURNS = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"x": {"default": None, "enum": [1, 2.5, True]}}}}


def nested(levels: int) -> dict[str, Any]:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return {"a": value}


@pytest.mark.parametrize(
    "columns",
    [
        {"tools": []},
        {"tools": [TOOL]},
        {"chat_template_kwargs": {"enable_thinking": None, "documents": [{"title": "😀"}], "n": 0}},
        {"chat_template_kwargs": nested(MAX_DEPTH - 1)},
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "?"}]}],
            "chosen": [{"role": "assistant", "tool_calls": [TOOL], "reasoning_content": "…"}],
            "rejected": [{"role": "tool", "content": "", "name": "f", "tool_call_id": "1"}],
        },
    ],
)
def test_a_sample_arrives_as_it_was_sent(columns: dict[str, Any]) -> None:
    """Through the client's dump, the service's and the worker's reading; nulls inside JSON are no missing fields."""
    sent = Sample.model_validate(PAIR | columns)
    for text in (json.dumps(sent.model_dump(exclude_none=True)), sent.model_dump_json()):
        received = Sample.model_validate_json(text)
        assert received == sent
        assert received.model_dump(exclude_none=True) == PAIR | columns


@pytest.mark.parametrize(("text", "tools"), [(json.dumps([TOOL]), [TOOL]), ("[]", []), ("null", None)])
def test_tools_may_be_a_string_of_json(text: str, tools: Any) -> None:
    assert Sample.model_validate(PAIR | {"tools": text}).tools == tools


def test_a_null_column_is_a_missing_one() -> None:
    columns = {"tools": None, "chat_template_kwargs": None}
    assert Sample.model_validate(PAIR | columns) == Sample.model_validate(PAIR)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tools": "{"}, "is a string, but not of JSON: Expecting property name"),
        ({"tools": "[" * 100_000}, "is a string, but not of JSON"),
        ({"tools": '{"type": "function"}'}, "should be a valid list"),
        ({"tools": ["f"]}, "should be a valid dictionary"),
        ({"tools": [{"f": print}]}, "not a valid JSON value"),
        ({"tools": [{"f": float("nan")}]}, "holds nan, which is not a finite number"),
        ({"tools": [{"\ud800": 1}]}, "lone surrogate at character 0"),
        ({"tools": [nested(MAX_DEPTH)]}, "is nested more than 64 levels deep"),
        ({"tools": [nested(5_000)]}, "is nested more than 64 levels deep"),
        ({"chat_template_kwargs": []}, "should be a valid dictionary"),
        ({"chat_template_kwargs": {"a": ["b\udc00"]}}, "lone surrogate at character 1"),
        (
            {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
            "variables of the chat template only, not chat_template",
        ),
        ({"chat_template_kwargs": {"tokenize": 0, "x": 0, "tools": []}}, "template only, not tokenize, tools"),
        ({"chat_template_kwargs": {"add_generation_prompt": True}}, "not add_generation_prompt"),
        ({"chat_template_kwargs": {"return_dict": False}}, "not return_dict"),
        ({"image": "a.png"}, "images are not supported"),
        ({"images": None}, "images are not supported"),
    ],
)
def test_what_a_template_must_not_get_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Sample.model_validate(PAIR | columns)


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ({"content": [{"type": "image"}, {"type": "text", "text": "?"}]}, "'image': images and other media are not"),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "'image_url': images and other media are not",
        ),
        ({"content": [{"text": "x"}]}, "Field required"),
        ({"content": {"a": 1}}, "should be a string or a list of {type: text, text} blocks"),
        ({"content": None}, "content should be given where there are no tool_calls"),
        ({}, "content should be given where there are no tool_calls"),
        ({"tool_calls": []}, "content should be given where there are no tool_calls"),
        ({"tool_calls": [nested(MAX_DEPTH)]}, "is nested more than 64 levels deep"),
        ({"content": "a", "colour": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_no_message_is_refused(message: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Message.model_validate({"role": "assistant"} | message)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"prompt": "", "completion": ""},
        {"prompt": TURNS[:1], "completion": TURNS[1:], "tools": [TOOL]},
        {"chat_template_kwargs": {"enable_thinking": None}, "id": "a"},
        {"label": True},
        {"label": False},
    ],
)
def test_a_prompt_with_its_completion_arrives_as_it_was_sent(columns: dict[str, Any]) -> None:
    either: TypeAdapter[Any] = TypeAdapter(AnySample)
    sent = PromptCompletion.model_validate(COMPLETION | columns)
    received = either.validate_json(json.dumps(sent.model_dump(exclude_none=True)))
    assert type(received) is PromptCompletion
    assert received == sent == either.validate_python(sent)
    assert received.model_dump(exclude_none=True) == COMPLETION | columns


def test_a_sample_is_what_its_columns_say() -> None:
    rows: list[dict[str, Any]] = [PAIR, COMPLETION]
    kinds = [type(sample) for sample in TypeAdapter(list[AnySample]).validate_python(rows)]
    assert kinds == [Sample, PromptCompletion]


@pytest.mark.parametrize(
    ("row", "where", "message"),
    [
        (COMPLETION | {"chosen": "c"}, (), "has a completion beside chosen: a sample should be either"),
        (PAIR | {"completion": "c"}, (), "has a completion beside chosen and rejected"),
        (COMPLETION | {"completion": TURNS}, (), "prompt and completion should both be strings or both be lists"),
        (COMPLETION | {"prompt": TURNS}, (), "prompt and completion should both be strings or both be lists"),
        (COMPLETION | {"images": []}, (), "images are not supported"),
        (COMPLETION | {"prompt": None}, ("prompt",), "should be a string or a list of"),
        (COMPLETION | {"completion": None}, ("completion",), "should be a string or a list of"),
        (COMPLETION | {"label": 1}, ("label",), "Input should be a valid boolean"),
        (COMPLETION | {"label": "true"}, ("label",), "Input should be a valid boolean"),
        (PAIR | {"label": True}, ("label",), "Extra inputs are not permitted"),
        (COMPLETION | {"completion": 7}, ("completion",), "should be a string or a list of"),
        ({"language": "de", "completion": "c"}, ("prompt",), "Field required"),
        (COMPLETION | {"ref_chosen_logps": -1.0}, ("ref_chosen_logps",), "Extra inputs are not permitted"),
        (COMPLETION | {"language": "englisch"}, ("language",), "is not a BCP 47"),
        ({"language": "de", "messages": TURNS}, (), "its last turn should be the completion, all turns before it"),
        (PAIR | {"messages": TURNS}, ("messages",), "Extra inputs are not permitted"),
    ],
)
def test_what_is_neither_a_pair_nor_a_completion_is_refused(
    row: dict[str, Any], where: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(AnySample).validate_python(row)
    faults = {fault["loc"][1:]: fault["msg"] for fault in caught.value.errors()}  # the first part is the kind
    assert message in faults[where]


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        (PAIR | {"completion": "x", "messages": TURNS}, {"completion", "messages"}),
        (PAIR | {"completion": None}, {"completion"}),
        (COMPLETION | {"chosen": None, "rejected": None, "messages": TURNS}, {"chosen", "rejected", "messages"}),
        (COMPLETION | {"chosen": "c"}, set()),  # half a pair beside it is a mistake, not another column
        (COMPLETION | {"label": False}, set()),
        (COMPLETION | {"label": None}, {"label"}),
        (COMPLETION | {"label": 3}, {"label"}),
        (PAIR | {"label": True}, {"label"}),
        (PAIR | {"chosen": None}, set()),
        ({"language": "de", "messages": TURNS}, set()),
    ],
)
def test_columns_of_other_uses_are_left_out_of_a_tables_rows(row: dict[str, Any], left_out: set[str]) -> None:
    assert without_others(row) == {name: value for name, value in row.items() if name not in left_out}
