"""Splitting requests."""

import pytest
from congrad.contract.wire import Message, PromptCompletion, Sample
from congrad_service.jobs.chunks import estimated_tokens, split


@pytest.mark.parametrize("tokens", [1, 50, 100, 10_000])
@pytest.mark.parametrize("most", [1, 7, 1000])
def test_chunks_hold_all_samples_in_order_within_the_bounds(tokens: int, most: int) -> None:
    samples = [
        Sample(id=str(i), language="de", prompt="p" * (i % 7 * 30), chosen="c" * i, rejected="ü" * (40 - i))
        for i in range(40)
    ]
    chunks = split(samples, tokens, most)
    assert [sample for chunk in chunks for sample in chunk] == samples
    assert all(len(chunk) == 1 or sum(map(estimated_tokens, chunk)) <= tokens for chunk in chunks)
    assert max(map(len, chunks)) <= most
    assert tokens < 10_000 or len(chunks) == -(-40 // most)


def test_messages_and_bytes_count() -> None:
    text = Sample(language="de", prompt="a" * 30, chosen="b" * 30, rejected="ä" * 15)
    messages = Sample(
        language="de",
        prompt=[Message(role="user", content="a" * 30)],
        chosen=[Message(role="assistant", content="b" * 30)],
        rejected=[Message(role="assistant", content="ä" * 15)],
    )
    assert estimated_tokens(text) == estimated_tokens(messages) == 41


def test_tools_and_tool_calls_count() -> None:
    bare = Sample(language="de", prompt="p", chosen="c", rejected="r")
    with_tools = bare.model_copy(update={"tools": [{"name": "x" * 300}]})
    assert estimated_tokens(with_tools) - estimated_tokens(bare) >= 200  # once in each of the two sequences
    call = Message(role="assistant", tool_calls=[{"arguments": "y" * 300}])
    assert estimated_tokens(bare.model_copy(update={"chosen": [call]})) >= 100
    assert estimated_tokens(bare.model_copy(update={"chosen": [Message(role="a", content=[])]})) >= 1
    blocks = Message.model_validate({"role": "user", "content": [{"type": "text", "text": "ä" * 15}] * 2})
    assert estimated_tokens(bare.model_copy(update={"prompt": [blocks]})) >= 40


def test_a_completion_is_one_sequence() -> None:
    row = PromptCompletion(language="de", prompt="a" * 30, completion="ä" * 15, tools=[{}])
    tools = len("[{}]")
    assert estimated_tokens(row) == (30 + 30 + tools) // 3 + 1
