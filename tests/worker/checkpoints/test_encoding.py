"""Token ids against those that TRL's own `DPOTrainer` prepares and collates."""

import inspect
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from congrad.contract import wire
from congrad.contract.samples import RESERVED_TEMPLATE_KWARGS
from congrad.contract.wire import Reason
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.encoding import Encoder, explicit_prompt
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import Unscorable
from datasets import IterableDataset  # no stubs, no py.typed
from support.models import DEMO_CHECKPOINT, SHARED_CHECKPOINT, SHARED_PAIRS, checkpoint, tokenizer_without_bos
from support.pairs import FIELDS, demo_samples, file_rows
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.logging import disable_propagation, enable_propagation
from trl.data_utils import prepare_multimodal_messages
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

SHARED_LANGUAGES = ("ar", "hi", "ja", "ko", "vi", "zh")
"""Arabic, Devanagari, kana and kanji, Hangul, Latin with stacked accents, Han."""

TOOLS_TEMPLATE = """{{ bos_token }}
{%- if tools is not none %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}
{%- for message in messages %}
    {{- "<|" + message.role + (" " + message.name if message.name else "") + "|>" }}
    {%- if enable_thinking and message.reasoning_content %}({{ message.reasoning_content }}){% endif %}
    {%- if message.content is string %}{{ message.content }}
    {%- else %}{% for block in message.content %}{{ block.text }}{% endfor %}{% endif %}
    {%- for call in message.tool_calls %}<call>{{ call.function | tojson }}</call>{% endfor %}
    {%- if message.role == "assistant" %}{{ eos_token }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{{ "" if enable_thinking else "()" }}{% endif %}"""

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Wie ist das Wetter? 天気は？",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "default": None}}},
    },
}


def tokenizer_of(model: Any) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
    return tokenizer


@pytest.fixture(scope="module")
def loaded() -> Checkpoint:
    return checkpoint(DEMO_CHECKPOINT)


@pytest.fixture
def with_tools() -> PreTrainedTokenizerBase:
    """A tokenizer whose chat template knows tools, reasoning and a variable."""
    tokenizer = tokenizer_of(DEMO_CHECKPOINT)
    tokenizer.chat_template = TOOLS_TEMPLATE
    return tokenizer


@pytest.fixture(scope="module", params=["demo", "shared"])
def real(request: pytest.FixtureRequest) -> tuple[PreTrainedTokenizerBase, list[dict[str, Any]]]:
    """A tokenizer and real pairs: those that are shipped, and those on this machine."""
    if request.param == "demo":
        return tokenizer_of(DEMO_CHECKPOINT), demo_samples(each=3)
    if not SHARED_PAIRS.exists():
        pytest.skip("the real pairs are not on this machine")
    rows = [row for row in file_rows(SHARED_PAIRS, each=5) if row["language"] in SHARED_LANGUAGES]
    return tokenizer_of(SHARED_CHECKPOINT), [{name: row[name] for name in FIELDS} for row in rows]


def conversational(row: dict[str, Any]) -> dict[str, Any]:
    """The row as messages."""
    return row | {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "chosen": [{"role": "assistant", "content": row["chosen"]}],
        "rejected": [{"role": "assistant", "content": row["rejected"]}],
    }


def implicit(row: dict[str, Any], separator: str = "\n") -> dict[str, Any]:
    """The row with its prompt at the beginning of both completions."""
    between: Any = separator if isinstance(row["prompt"], str) else []
    joined = {side: row["prompt"] + between + row[side] for side in ("chosen", "rejected")}
    return {name: value for name, value in row.items() if name != "prompt"} | joined


def trl_pairs(
    tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], max_length: int
) -> Iterator[tuple[str, EncodedPair]]:
    """What TRL trains on of rows of one form, by their ids: its own preparation, then its own collator.

    The rows are iterated over, not held in Arrow, which would fill every row with the keys of all others.
    """
    # Nothing is trained; TRL's default for checkpointing is a name that transformers 5 warns of.
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": None}
    config = DPOConfig(max_length=max_length, **options)
    dataset = IterableDataset.from_generator(lambda: iter(rows))
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer)
    prepared = list(DPOTrainer._prepare_dataset(trainer, dataset, tokenizer, config, "train"))
    collator = DataCollatorForPreference(tokenizer.pad_token_id or 0, config.max_length, config.truncation_mode)
    for row in prepared:
        batch = collator([row])  # [2, tokens]: chosen, rejected
        sequences = [
            (ids[mask == 1], completion[mask == 1])
            for ids, mask, completion in zip(
                batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True
            )
        ]
        prompt, chosen, rejected = (
            sequences[0][0][sequences[0][1] == 0].tolist(),
            *(ids[completion == 1].tolist() for ids, completion in sequences),
        )
        cut = len(chosen) < len(row["chosen_ids"]) or len(rejected) < len(row["rejected_ids"])
        yield row["id"], EncodedPair(prompt, chosen, rejected, truncated=cut)


def assert_like_trl(
    tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], max_length: int = 10_000
) -> list[EncodedPair]:
    """Every row has TRL's token ids, and those that TRL drops have none; the pairs."""
    assert rows
    encoder = Encoder(tokenizer, max_length)
    expected = dict(trl_pairs(tokenizer, rows, max_length))
    for row in rows:
        sample = wire.Sample.model_validate_json(json.dumps(row))
        if row["id"] in expected:
            assert encoder.encode(sample) == expected[row["id"]], row
        else:
            with pytest.raises(Unscorable, match="the prompt alone has") as caught:
                encoder.encode(sample)
            assert caught.value.reason is Reason.PROMPT_TOO_LONG
    return list(expected.values())


@pytest.mark.parametrize("form", ["explicit", "implicit"])
@pytest.mark.parametrize("kind", ["standard", "conversational"])
def test_token_ids_are_trls(form: str, kind: str, real: tuple[PreTrainedTokenizerBase, list[dict[str, Any]]]) -> None:
    tokenizer, rows = real
    rows = [conversational(row) for row in rows] if kind == "conversational" else rows
    rows = [implicit(row) for row in rows] if form == "implicit" else rows
    assert_like_trl(tokenizer, rows)


@pytest.mark.parametrize("kind", ["standard", "conversational"])
def test_long_completions_are_cut_and_long_prompts_left_out_where_trl_does(
    kind: str, real: tuple[PreTrainedTokenizerBase, list[dict[str, Any]]]
) -> None:
    tokenizer, rows = real
    rows = [conversational(row) for row in rows] if kind == "conversational" else rows
    lengths = sorted(len(pair.prompt_ids) for pair in assert_like_trl(tokenizer, rows))
    middle = lengths[len(lengths) // 2]  # the very length of a prompt: it leaves no room, one token less does
    cut = assert_like_trl(tokenizer, rows, middle)
    assert 0 < len(cut) < len(rows)
    assert any(pair.truncated for pair in cut)
    assert len(assert_like_trl(tokenizer, rows, middle + 1)) > len(cut)


def test_an_end_of_sequence_is_added_once(loaded: Checkpoint) -> None:
    end = loaded.tokenizer.eos_token
    rows = [
        row | {"id": f"{row['id']} {n}", "chosen": row["chosen"] + tail}
        for row in demo_samples("ar", "hi", "ja", "zh", each=1)
        for n, tail in enumerate(["", end, " ", end + "\n", end + end])
    ]
    pairs = assert_like_trl(loaded.tokenizer, rows)
    assert all(pair.chosen_ids[-1] == pair.rejected_ids[-1] == loaded.tokenizer.eos_token_id for pair in pairs)
    # Messages end as their template ends them.
    assert_like_trl(loaded.tokenizer, [conversational(row) for row in rows])


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("It is blue.", "It is green."),  # a space before the first difference goes to the completions
        ("It is", "It is green."),  # one is the beginning of the other
        ("It is blue.", "It is blue."),
        ("Ja.", "Nein."),  # nothing is shared
        ("Ja. ", "Nein."),  # nothing is shared, and the first ends in a space
        ("\u0627\u0644\u0633\u0645\u0627\u0621 زرقاء", "السماء خضراء"),
        ("空は青い。", "空は緑だ。"),
    ],
)
def test_the_implicit_prompt_is_trls(chosen: str, rejected: str, loaded: Checkpoint) -> None:
    row = {"id": "a", "language": "en", "chosen": chosen, "rejected": rejected}
    assert_like_trl(loaded.tokenizer, [row])


def test_without_a_first_token_of_its_own_a_sequence_may_have_no_prompt_as_in_trl() -> None:
    tokenizer = tokenizer_without_bos(DEMO_CHECKPOINT)
    sides = [("Ja.", "Nein."), ("Ja. ", "Nein."), ("Ja.", "Ja, aber nicht heute."), ("as", "as"), ("as so", "ar no")]
    rows = [
        {"id": str(number), "language": "de", "chosen": chosen, "rejected": rejected}
        for number, (chosen, rejected) in enumerate(sides)
    ]

    def has_prompt(rows: list[dict[str, Any]]) -> list[bool]:
        return [bool(pair.prompt_ids) for pair in assert_like_trl(tokenizer, rows)]

    assert has_prompt([row | {"prompt": ""} for row in rows]) == [False] * 5
    # "w" and what follows is another token, "wa", and the prompt's own is in neither sequence.
    assert has_prompt([row | {"prompt": "w"} for row in rows]) == [True, True, True, False, False]
    assert has_prompt(rows) == [False, True, True, False, False]


def test_the_implicit_prompt_of_messages_is_trls(loaded: Checkpoint) -> None:
    turns = [{"role": role, "content": text} for text in ("?", " ", "!") for role in ("user", "assistant")]
    rows = [
        {"id": "nested", "language": "en", "chosen": turns[:4], "rejected": turns},
        {"id": "same", "language": "en", "chosen": turns, "rejected": turns},
        {"id": "branch", "language": "en", "chosen": turns[:2], "rejected": [*turns[:1], *turns[3:]]},
    ]
    assert_like_trl(loaded.tokenizer, rows)


ONE, OTHER = ({"role": "user", "content": text} for text in ("?", "!"))


@pytest.mark.parametrize(
    ("sides", "fault"),
    [
        ({"chosen": [ONE], "rejected": [OTHER]}, "begin with different messages, so there is no prompt$"),
        ({"chosen": [ONE], "rejected": [ONE, OTHER]}, "^chosen is one message, so there is no prompt before it$"),
        ({"chosen": [ONE, OTHER], "rejected": [ONE]}, "^rejected is one message"),
        ({"chosen": [ONE], "rejected": [OTHER], "prompt": "?"}, "a list of messages too, and it is a string$"),
    ],
)
def test_messages_that_share_no_turn_have_no_prompt(sides: dict[str, Any], fault: str, loaded: Checkpoint) -> None:
    with pytest.raises(ValueError, match=fault):
        Encoder(loaded.tokenizer, 100).encode(wire.Sample.model_validate({"language": "en"} | sides))


def tool_conversation(row: dict[str, Any]) -> dict[str, Any]:
    """The row after a tool was called; one completion calls another."""
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": row["prompt"], "day": None}}}
    prompt = [
        {"role": "user", "content": [{"type": "text", "text": row["prompt"]}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call | {"id": "call-1"}]},
        {"role": "tool", "name": "weather", "tool_call_id": "call-1", "content": row["rejected"]},
    ]
    chosen = [{"role": "assistant", "content": row["chosen"], "reasoning_content": row["prompt"]}]
    rejected = [{"role": "assistant", "content": row["rejected"], "tool_calls": [call]}]
    return row | {"prompt": prompt, "chosen": chosen, "rejected": rejected}


@pytest.mark.parametrize("form", ["explicit", "implicit"])
@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"tools": None},
        {"tools": []},
        {"tools": [TOOL]},
        {"tools": json.dumps([TOOL, TOOL])},
        {"tools": [TOOL], "chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"enable_thinking": False, "eos_token": "!", "documents": [{"title": "a"}]}},
    ],
    ids=["none", "null", "empty", "schemas", "json", "both", "kwargs"],
)
def test_tools_and_template_variables_reach_the_template_as_in_trl(
    columns: dict[str, Any], form: str, with_tools: PreTrainedTokenizerBase
) -> None:
    rows = [tool_conversation(row) | columns for row in demo_samples("ar", "de", "hi", "ja", "zh", each=1)]
    rows = [implicit(row) for row in rows] if form == "implicit" else rows
    assert_like_trl(with_tools, rows)


def test_tools_and_variables_of_a_row_change_its_token_ids(with_tools: PreTrainedTokenizerBase) -> None:
    row = tool_conversation(demo_samples("de", each=1)[0])
    encoder = Encoder(with_tools, 10_000)
    options: list[dict[str, Any]] = [
        {},
        {"tools": []},
        {"tools": [TOOL]},
        {"chat_template_kwargs": {"enable_thinking": True}},
    ]
    pairs = [encoder.encode(wire.Sample.model_validate(row | columns)) for columns in options]
    assert len({tuple(pair.prompt_ids + pair.chosen_ids) for pair in pairs}) == len(options)


def test_tools_and_variables_beside_plain_text_are_ignored_as_in_trl(with_tools: PreTrainedTokenizerBase) -> None:
    rows = demo_samples("en", "zh", each=1)
    plain = assert_like_trl(with_tools, rows)
    columns = {"tools": [TOOL], "chat_template_kwargs": {"enable_thinking": True}}
    assert assert_like_trl(with_tools, [row | columns for row in rows]) == plain


def test_a_template_for_tools_is_chosen_as_in_trl(with_tools: PreTrainedTokenizerBase) -> None:
    default = "{{ bos_token }}{% for message in messages %}{{ message.role + (message.content | string) }}{% endfor %}"
    with_tools.chat_template = {"default": default, "tool_use": TOOLS_TEMPLATE}
    row = tool_conversation(demo_samples("en", each=1)[0])
    pairs = [assert_like_trl(with_tools, [row | columns])[0] for columns in ({}, {"tools": [TOOL]})]
    assert pairs[0] != pairs[1]


def test_whatever_the_tokenizer_takes_beside_variables_is_reserved() -> None:
    parameters = set(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)
    harmless = {"documents", "sanitize_control_tokens"}  # what a template sees, and how its input is read
    assert parameters - {"kwargs"} - harmless <= RESERVED_TEMPLATE_KWARGS


@pytest.mark.parametrize(
    "columns",
    [
        {"chat_template_kwargs": {"eos_token": 1}},
        {"chat_template_kwargs": {"documents": 7}},
        {"chosen": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
    ],
)
def test_what_a_template_cannot_take_is_said(columns: dict[str, Any], loaded: Checkpoint) -> None:
    row = conversational(demo_samples("en", each=1)[0]) | columns
    with pytest.raises(Unscorable, match="the checkpoint's chat template refuses it") as caught:
        Encoder(loaded.tokenizer, 100).encode(wire.Sample.model_validate(row))
    assert caught.value.reason is Reason.TEMPLATE_REFUSED


def test_reference_log_probabilities_come_along(loaded: Checkpoint) -> None:
    row = demo_samples("en", each=1)[0]
    encoder = Encoder(loaded.tokenizer, 10_000)
    assert encoder.encode(wire.Sample.model_validate(row)).ref_logps is None
    given = row | {"ref_chosen_logps": -3.5, "ref_rejected_logps": -40}
    assert encoder.encode(wire.Sample.model_validate(given)).ref_logps == (-3.5, -40.0)


def test_a_prompt_that_fills_the_maximum_is_refused(loaded: Checkpoint) -> None:
    sample = wire.Sample(id="a", language="en", prompt="word " * 50, chosen="x", rejected="y")
    with pytest.raises(Unscorable, match=r"the prompt alone has \d+ tokens .* maximum length of 8"):
        Encoder(loaded.tokenizer, 8).encode(sample)


class Seen:
    """A tokenizer, and how long the texts are that it is called with."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self.lengths: list[int] = []

    def __call__(self, texts: str | list[str], **options: Any) -> Any:
        self.lengths += [len(text) for text in ([texts] if isinstance(texts, str) else texts)]
        return self._tokenizer(texts, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.mark.parametrize("where", ["prompt", "chosen", "rejected"])
@pytest.mark.parametrize("form", ["text", "messages"])
def test_of_megabytes_the_tokenizer_sees_the_beginning(form: str, where: str, loaded: Checkpoint) -> None:
    """It takes seconds and gigabytes for the whole; truth is what the whole begins with."""
    row = {"prompt": "Warum? ", "chosen": "Darum, weil", "rejected": "Keine Ahnung"}
    row[where] += " der Himmel ist blau und das Meer ist tief" * 4_000

    def messages(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    if form == "messages":
        row = {name: messages("user" if name == "prompt" else "assistant", text) for name, text in row.items()}  # type: ignore[misc]
    sample = wire.Sample.model_validate({"language": "de", **row})
    seen = Seen(loaded.tokenizer)
    encoder = Encoder(cast("PreTrainedTokenizerBase", seen), max_length=64)
    if where == "prompt":
        with pytest.raises(ValueError, match="the prompt alone has"):
            encoder.encode(sample)
    else:
        whole = Encoder(loaded.tokenizer, max_length=10**6).encode(sample)
        pair = encoder.encode(sample)
        room = 64 - len(whole.prompt_ids)
        assert (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids, pair.truncated) == (
            whole.prompt_ids,
            whole.chosen_ids[:room],
            whole.rejected_ids[:room],
            True,
        )
    assert 0 < max(seen.lengths) < 10_000


def nested(levels: int) -> Any:
    value: Any = [0] * 1000
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(40), [10**4000] * 50], ids=["nested", "digits"])
def test_of_tools_that_a_template_lays_out_at_length_the_tokenizer_sees_the_beginning(value: Any) -> None:
    """As Llama 3.1's does: a few kilobytes that are sent can be megabytes there."""
    tokenizer = tokenizer_of(DEMO_CHECKPOINT)
    tokenizer.chat_template = TOOLS_TEMPLATE.replace("tool | tojson", "tool | tojson(indent=4)")
    row = conversational(demo_samples("en")[0]) | {"tools": [{"default": value}]}
    seen = Seen(tokenizer)
    with pytest.raises(Unscorable, match="the prompt alone has"):
        Encoder(cast("PreTrainedTokenizerBase", seen), max_length=64).encode(wire.Sample.model_validate(row))
    assert seen.lengths
    assert max(seen.lengths) < 10_000


def tokenizer_of_runs() -> PreTrainedTokenizerBase:
    """Of Unigram's normalised texts a run of spaces is one token, and so is one of characters that it does not know."""
    end = cast("str", tokenizer_of(DEMO_CHECKPOINT).eos_token)
    pieces = [("<unk>", 0.0), (end, 0.0), *((f"{start}{letter}", -3.0) for start in ("", "▁") for letter in "▁abc")]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, unk_token="<unk>")
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    return tokenizer


@pytest.mark.parametrize("form", ["text", "messages"])
def test_where_many_characters_are_one_token_the_tokenizer_sees_more(form: str) -> None:
    rows = [
        {"id": "spaces", "language": "en", "prompt": "ab" + " " * 10_000, "chosen": "a b", "rejected": "a c"},
        {"id": "unknown", "language": "en", "prompt": "ab ", "chosen": "茶" * 10_000 + "a", "rejected": "茶" * 10_000},
    ]
    rows = [conversational(row) for row in rows] if form == "messages" else rows
    pairs = assert_like_trl(tokenizer_of_runs(), rows, max_length=64)
    assert not any(pair.is_tie or pair.truncated for pair in pairs)


@pytest.mark.parametrize("form", ["messages", pytest.param("text", marks=pytest.mark.slow)])
def test_where_not_even_a_million_characters_have_tokens_enough_the_pair_is_dropped(form: str) -> None:
    row = {"id": "0", "language": "en", "prompt": "ab ", "chosen": "茶" * 2**20 + "a", "rejected": "b"}
    sample = wire.Sample.model_validate(conversational(row) if form == "messages" else row)
    with pytest.raises(Unscorable, match=r"its first 1,048,576 characters have [1-9] tokens") as raised:
        Encoder(tokenizer_of_runs(), 64).encode(sample)
    assert raised.value.reason is Reason.PROMPT_TOO_LONG


def test_a_long_text_is_told_of_in_no_other_words_than_ours(caplog: pytest.LogCaptureFixture) -> None:
    """It is cut; transformers would say that it "will result in indexing errors"."""
    tokenizer = checkpoint(DEMO_CHECKPOINT).tokenizer
    enable_propagation()
    try:
        Encoder(tokenizer, 64).encode(wire.Sample(language="en", prompt="p", chosen="word " * 1000, rejected="r"))
    finally:
        disable_propagation()
    assert not [record for record in caplog.records if record.name.startswith("transformers")]


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


BLOCKS_TEMPLATE = """{% for message in messages %}{{ message.role.upper() + ': ' }}
{%- for block in message.content | selectattr('type', 'equalto', 'text') %}{{ block.text + ' ' }}{% endfor %}
{%- endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
"""As LLaVA's: of a text that is a string nothing is left."""


@pytest.mark.parametrize("template", [BLOCKS_TEMPLATE, TOOLS_TEMPLATE], ids=["blocks", "both"])
def test_a_template_that_takes_blocks_only_is_given_texts_in_blocks_as_trl_gives_them(template: str) -> None:
    tokenizer = tokenizer_of(DEMO_CHECKPOINT)
    tokenizer.chat_template = template
    rows = [conversational(row) for row in demo_samples("de", "ja", each=1)]
    in_blocks = [
        row | {name: prepare_multimodal_messages(row[name]) for name in ("prompt", "chosen", "rejected")}
        for row in rows
    ]
    encoder = Encoder(tokenizer, 10_000)
    for row, pair in zip(rows, assert_like_trl(tokenizer, in_blocks), strict=True):
        assert not pair.is_tie
        assert encoder.encode(wire.Sample.model_validate(row)) == pair


def test_messages_need_a_chat_template(loaded: Checkpoint) -> None:
    template, loaded.tokenizer.chat_template = loaded.tokenizer.chat_template, None
    try:
        with pytest.raises(ValueError, match="no chat template"):
            Encoder(loaded.tokenizer, 100).encode(wire.Sample.model_validate(conversational(demo_samples("en")[0])))
    finally:
        loaded.tokenizer.chat_template = template
