"""Token ids against TRL's own preprocessing."""

from typing import Any

import pytest
from congrad import wire
from congrad_worker.checkpoint import Checkpoint
from congrad_worker.encoding import Encoder, explicit_prompt
from support.models import DEMO_CHECKPOINT, checkpoint
from support.pairs import demo_samples
from trl.data_utils import _tokenize, common_prefix_length, extract_prompt


@pytest.fixture(scope="module")
def loaded() -> Checkpoint:
    return checkpoint(DEMO_CHECKPOINT)


def conversational(row: dict[str, Any]) -> dict[str, Any]:
    """The row as messages."""
    return row | {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "chosen": [{"role": "assistant", "content": row["chosen"]}],
        "rejected": [{"role": "assistant", "content": row["rejected"]}],
    }


def implicit(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its prompt at the beginning of both completions."""
    separator = "" if isinstance(row["prompt"], list) else "\n"
    joined = {side: row["prompt"] + (separator or []) + row[side] for side in ("chosen", "rejected")}
    return {"id": row["id"], "language": row["language"], **joined}


def trl_ids(tokenizer: Any, row: dict[str, Any]) -> tuple[list[int], list[int], list[int]]:
    """What `DPOTrainer._prepare_dataset` makes of a row, with TRL's own functions, in its order."""
    example: dict[str, Any] = {name: row[name] for name in ("prompt", "chosen", "rejected") if name in row}
    if "prompt" not in example:
        example = dict(extract_prompt(example))
    options: list[dict[str, Any]] = [{}, {}, {}]
    if isinstance(example["prompt"], str):
        for side in ("chosen", "rejected"):
            example[side] += "" if example[side].endswith(tokenizer.eos_token) else tokenizer.eos_token
    else:
        options[0] = {"add_generation_prompt": True}
    texts = [example["prompt"], example["prompt"] + example["chosen"], example["prompt"] + example["rejected"]]
    ids = [_tokenize(tokenizer, text, **kw)["input_ids"] for text, kw in zip(texts, options, strict=True)]
    length = min(common_prefix_length(ids[0], ids[1]), common_prefix_length(ids[0], ids[2]))
    return ids[0][:length], ids[1][length:], ids[2][length:]


@pytest.mark.parametrize("form", ["explicit", "implicit"])
@pytest.mark.parametrize("kind", ["standard", "conversational"])
def test_token_ids_are_trls(form: str, kind: str, loaded: Checkpoint) -> None:
    encoder = Encoder(loaded.tokenizer, 10_000)
    for row in demo_samples(each=3):
        shaped = conversational(row) if kind == "conversational" else row
        shaped = implicit(shaped) if form == "implicit" else shaped
        pair = encoder.encode(wire.Sample.model_validate(shaped))
        assert (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) == trl_ids(loaded.tokenizer, shaped)
        assert not pair.truncated


def test_the_end_of_a_long_completion_is_cut(loaded: Checkpoint) -> None:
    row = demo_samples("en", each=1)[0]
    whole = Encoder(loaded.tokenizer, 10_000).encode(wire.Sample.model_validate(row))
    limit = len(whole.prompt_ids) + 5
    cut = Encoder(loaded.tokenizer, limit).encode(wire.Sample.model_validate(row))
    assert cut.truncated
    assert cut.prompt_ids == whole.prompt_ids
    assert cut.chosen_ids == whole.chosen_ids[:5]


def test_a_prompt_that_fills_the_maximum_is_refused(loaded: Checkpoint) -> None:
    sample = wire.Sample(id="a", language="en", prompt="word " * 50, chosen="x", rejected="y")
    with pytest.raises(ValueError, match=r"the prompt alone has \d+ tokens .* maximum length of 8"):
        Encoder(loaded.tokenizer, 8).encode(sample)


def test_a_string_prompt_beside_messages_is_their_first_turn() -> None:
    turns = [{"role": "user", "content": "Hello?"}]
    sample = wire.Sample.model_validate(
        {
            "language": "en",
            "prompt": "Hello?",
            "chosen": [*turns, {"role": "assistant", "content": "Hi."}],
            "rejected": [*turns, {"role": "assistant", "content": "No."}],
        }
    )
    prompt, chosen, rejected = explicit_prompt(sample)
    assert prompt == turns
    assert (chosen[0]["content"], rejected[0]["content"]) == ("Hi.", "No.")  # type: ignore[index]


def test_messages_need_a_chat_template(loaded: Checkpoint) -> None:
    template, loaded.tokenizer.chat_template = loaded.tokenizer.chat_template, None
    try:
        with pytest.raises(ValueError, match="no chat template"):
            Encoder(loaded.tokenizer, 100).encode(wire.Sample.model_validate(conversational(demo_samples("en")[0])))
    finally:
        loaded.tokenizer.chat_template = template
