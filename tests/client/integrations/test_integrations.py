"""Rows of other libraries, against what those libraries make of them, and datasets filtered by a live service."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import congrad
import httpx
import numpy
import pyarrow
import pytest
from congrad.files.samples import read_samples
from congrad.integrations import axolotl, openrlhf
from congrad.integrations.trl import filter_dataset, filter_rows, to_sample
from congrad.local.stack import Stack
from congrad_worker.checkpoints.encoding import Encoder
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, Value, load_dataset
from support.faulty_transport import FaultyTransport, Send, away
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples
from support.stub_service import StubService
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

TOKENIZER: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there: what does not need the service does not ask it."""


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def token_ids(sample: dict[str, Any]) -> tuple[list[int], list[int], list[int]]:
    """Prompt, chosen and rejected as the worker scores them."""
    pair = Encoder(TOKENIZER, 256).encode(congrad.Sample(language="de", **sample))
    return pair.prompt_ids, pair.chosen_ids, pair.rejected_ids


def texts(sample: dict[str, Any]) -> tuple[str, ...]:
    """The same as text, special tokens included."""
    return tuple(str(TOKENIZER.decode(ids)) for ids in token_ids(sample))


def test_neither_datasets_nor_trl_is_imported_before_it_is_used() -> None:
    modules = "congrad, congrad.integrations.trl, congrad.integrations.openrlhf, congrad.integrations.axolotl"
    code = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {"datasets", "trl", "transformers", "torch", "pyarrow", "numpy"}


# TRL


def standard(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]}


def standard_implicit(row: dict[str, Any]) -> dict[str, Any]:
    return {side: f"{row['prompt']}\n{row[side]}" for side in ("chosen", "rejected")}


def conversational(row: dict[str, Any]) -> dict[str, Any]:
    replies = {side: [assistant(row[side])] for side in ("chosen", "rejected")}
    return {"prompt": [user(row["prompt"])], **replies, "chat_template_kwargs": {"enable_thinking": False}}


def conversational_implicit(row: dict[str, Any]) -> dict[str, Any]:
    return {side: [user(row["prompt"]), assistant(row[side])] for side in ("chosen", "rejected")}


@pytest.mark.parametrize("form", [standard, standard_implicit, conversational, conversational_implicit])
def test_a_row_is_scored_as_the_tokens_that_trl_trains_on(form: Any) -> None:
    dataset = Dataset.from_list([form(row) | {"more": 1} for row in demo_samples(each=2)])
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": None}
    trainer: Any = SimpleNamespace(_tokenizer=TOKENIZER)
    trained_on = DPOTrainer._prepare_dataset(trainer, dataset, TOKENIZER, DPOConfig(max_length=256, **options), "train")
    scored = [token_ids(to_sample(row)) for row in dataset]
    assert scored == [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in trained_on]


def test_trls_other_columns_go_along_and_nulls_do_not() -> None:
    logps = {"ref_chosen_logps": -1.5, "ref_rejected_logps": -2.5}
    row = {
        "id": 7,
        "keep": True,
        "chosen": "a",
        "rejected": "b",
        "prompt": None,
        "tools": "[]",
        "images": None,
        **logps,
    }
    assert to_sample(row) == {"chosen": "a", "rejected": "b", "tools": "[]", **logps}
    with pytest.raises(ValueError, match="images are not supported"):
        congrad.Sample(language="de", **to_sample(row | {"images": ["x.png"]}))


def test_completions_and_conversations_are_read_and_other_columns_are_not() -> None:
    prompt, completion = [user("a")], [assistant("b")]
    row = {"id": 7, "prompt": prompt, "completion": completion, "chosen": None, "messages": prompt + completion}
    assert to_sample(row) == {"prompt": prompt, "completion": completion}
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert to_sample(pair | {"completion": "d", "messages": prompt}) == pair
    with pytest.raises(ValueError, match="a conversation in messages does not say"):
        congrad.Sample(language="de", **to_sample({"id": 7, "messages": prompt + completion}))


# OpenRLHF: the texts are what its `preprocess_data` (0.11.2, is_dpo) returned for these rows and the demo's tokenizer.

CONVERSATION = {
    "chosen": [user("Che ore sono?"), assistant("Le tre."), user("Sicuro?"), assistant("Sì, le tre.")],
    "rejected": [user("Che ore sono?"), assistant("Le tre."), user("Sicuro?"), assistant("Forse.")],
}
CONVERSATION_TEXTS = (
    "<|bos|><|user|>Che ore sono?<|assistant|>Le tre.<|eos|><|user|>Sicuro?<|assistant|>",
    "Sì, le tre.<|eos|>",
    "Forse.<|eos|>",
)


def test_openrlhfs_prompt_is_all_of_chosen_but_its_last_turn() -> None:
    assert texts(openrlhf.to_sample(CONVERSATION)) == CONVERSATION_TEXTS
    longer = CONVERSATION | {"rejected": [*CONVERSATION["rejected"], user("Aha."), assistant("Boh.")]}
    *_, rejected = texts(openrlhf.to_sample(longer))
    assert rejected == "Forse.<|eos|><|user|>Aha.<|assistant|>Boh.<|eos|>"


def test_openrlhfs_keys_can_be_named() -> None:
    row = {"context": [user("Que horas são?")], "yes": [assistant("São três.")], "no": [assistant("Não sei.")]}
    sample = openrlhf.to_sample(row, prompt_key="context", chosen_key="yes", rejected_key="no")
    assert texts(sample) == ("<|bos|><|user|>Que horas são?<|assistant|>", "São três.<|eos|>", "Não sei.<|eos|>")


def test_openrlhfs_strings_get_its_template_and_have_no_common_prefix() -> None:
    row = {"question": "Saat kaç?", "chosen": "Üç.", "rejected": "Bilmem."}
    sample = openrlhf.to_sample(row, prompt_key="question", input_template="User: {}\nAssistant: ")
    assert sample == {"prompt": "User: Saat kaç?\nAssistant: ", "chosen": "Üç.", "rejected": "Bilmem."}
    whole = {"chosen": "Która godzina? Trzecia.", "rejected": "Która godzina? Nie wiem."}
    assert openrlhf.to_sample(whole) == {"prompt": "", **whole}


def test_a_rejected_conversation_with_another_prompt_is_refused() -> None:
    other = CONVERSATION | {"rejected": [user("Che giorno è?"), *CONVERSATION["rejected"][1:]]}
    with pytest.raises(ValueError, match="rejected does not begin with the 3 turns of the prompt in chosen"):
        openrlhf.to_sample(other)


# Axolotl: the texts are what its strategies (0.21.0, `tokenizer_default`) returned for these rows.


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        pytest.param(
            {
                "messages": [user("Wie spät ist es?"), assistant("Drei."), user("Genau?")],
                "chosen": assistant("Kurz nach drei."),
                "rejected": assistant("Geh weg."),
            },
            {},
            (
                "<|bos|><|user|>Wie spät ist es?<|assistant|>Drei.<|eos|><|user|>Genau?<|assistant|>",
                "Kurz nach drei.<|eos|>",
                "Geh weg.<|eos|>",
            ),
            id="chat_template.default",
        ),
        pytest.param(
            {
                "messages": [user("今何時ですか。")],
                "chosen": [user("今何時ですか。"), assistant("三時過ぎです。")],
                "rejected": [user("今何時ですか。"), assistant("知りません。")],
            },
            {},
            ("<|bos|><|user|>今何時ですか。<|assistant|>", "三時過ぎです。<|eos|>", "知りません。<|eos|>"),
            id="the last turn counts",
        ),
        pytest.param(
            {"question": "¿Qué hora es?", "better": "Las tres.", "worse": "No sé."},
            {"field_messages": "question", "field_chosen": "better", "field_rejected": "worse"},
            ("<|bos|><|user|>¿Qué hora es?<|assistant|>", "Las tres.<|eos|>", "No sé.<|eos|>"),
            id="strings",
        ),
        pytest.param(
            {
                "conversations": [{"from": "human", "value": "Quelle heure est-il ?"}],
                "chosen": {"from": "gpt", "value": "Trois heures."},
                "rejected": {"from": "gpt", "value": "Non."},
            },
            {
                "field_messages": "conversations",
                "message_property_mappings": {"role": "from", "content": "value"},
                "roles": {"user": ["human"], "assistant": ["gpt"]},
            },
            ("<|bos|><|user|>Quelle heure est-il ?<|assistant|>", "Trois heures.<|eos|>", "Non.<|eos|>"),
            id="names of its own",
        ),
        pytest.param(CONVERSATION, {}, CONVERSATION_TEXTS, id="chat_template.argilla_chat"),
        pytest.param(CONVERSATION | {"messages": None}, {}, CONVERSATION_TEXTS, id="a null for messages"),
    ],
)
def test_a_row_is_read_as_axolotl_reads_it(row: dict[str, Any], options: dict[str, Any], expected: tuple[str]) -> None:
    assert texts(axolotl.to_sample(row, **options)) == expected


def test_a_single_turn_without_messages_has_no_prompt() -> None:
    with pytest.raises(KeyError, match="messages"):
        axolotl.to_sample({"chosen": assistant("!"), "rejected": assistant("-")})


def test_axolotls_further_properties_ride_along() -> None:
    row = {
        "messages": [user("?")],
        "chosen": assistant("!") | {"thoughts": "…"},
        "rejected": assistant("-"),
    }
    mappings = {"role": "role", "content": "content", "reasoning_content": "thoughts"}
    sample = axolotl.to_sample(row, message_property_mappings=mappings)
    assert sample["chosen"] == [assistant("!") | {"reasoning_content": "…"}]
    assert sample["rejected"] == [assistant("-")]


# filter_dataset


@pytest.fixture
def dataset() -> Dataset:
    """24 rows with a column that is nobody's business, shuffled and formatted, as trainers leave them."""
    rows = Dataset.from_list([row | {"mine": {"n": i}} for i, row in enumerate(demo_samples(each=2))])
    return rows.shuffle(seed=1).with_format("numpy")


def test_a_dataset_comes_back_with_the_decisions_of_the_service(dataset: Dataset, client: congrad.Client) -> None:
    scored = filter_dataset(dataset, client, direction="dataset")
    assert scored.column_names == [*dataset.column_names, "keep", "conflict_score"]
    assert (scored.features["keep"], scored.features["conflict_score"]) == (Value("bool"), Value("float64"))
    assert scored.remove_columns(["keep", "conflict_score"]).with_format(None).to_list() == (
        dataset.with_format(None).to_list()
    )
    assert scored.format == dataset.format | {"columns": scored.column_names}
    few = filter_dataset(dataset.with_format(None, columns=["prompt"]), client, direction="dataset", update=False)
    assert few[0].keys() == {"prompt", "keep", "conflict_score"}
    half: dict[str, Any] = {"selection": {"kind": "fraction", "keep": 0.5, "within": "request"}, "update": False}
    again = filter_dataset(dataset, client, direction="dataset", **half).with_format(None)
    plain = client.filter(dataset.remove_columns("id").with_format(None), direction="dataset", **half)
    assert again["keep"][:] == plain.keep
    assert again["conflict_score"][:] == [decision.conflict_score for decision in plain.decisions]
    assert sum(plain.keep) == 12


def test_a_call_of_one_pass_that_has_begun_its_direction_is_answered_once(client: congrad.Client) -> None:
    """Its jobs were there before the direction was. A rank that comes later would be scored against what they made."""
    rows = Dataset.from_list(demo_samples("de", "ja", each=3))
    options: dict[str, Any] = {"direction": "begun", "two_pass": False, "batch_size": 2}

    def scored_in(jobs: int) -> Any:
        found = filter_dataset(rows, client, **options)
        assert len([job for job in client.jobs.list(500) if job.direction == "begun"]) == jobs
        return found["conflict_score"][:]

    assert scored_in(jobs=3) == scored_in(jobs=3)
    client.directions.reset("begun")
    assert scored_in(jobs=6) == scored_in(jobs=6), "not the answers of what was reset"


def test_files_of_the_same_rows_that_machines_of_a_training_job_have_of_their_own_are_one_call(
    client: congrad.Client, tmp_path: Path
) -> None:
    """In one pass the second call would be scored against what the first one has made."""
    scored = []
    for machine in ("first", "second"):
        file = tmp_path / f"{machine}.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in demo_samples("de", "ja", each=3)), encoding="utf-8")
        own = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / machine))
        found = filter_dataset(own, client, direction="machines", two_pass=False, batch_size=2)
        scored.append((found["keep"][:], found["conflict_score"][:]))
    assert scored[0] == scored[1]
    assert len([job for job in client.jobs.list(500) if job.direction == "machines"]) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"selection": "threshold"}, "selection: should be a valid dict"),
        ({"direction": None}, "direction: should be a v"),
    ],
)
def test_an_option_that_cannot_be_is_told_as_by_the_client(
    options: dict[str, Any], said: str, dataset: Dataset, client: congrad.Client
) -> None:
    with pytest.raises((ValueError, congrad.UnprocessableError), match=said):
        filter_dataset(dataset, client, **options)


def test_a_fraction_may_be_a_number_of_numpys(dataset: Dataset, client: congrad.Client) -> None:
    half = {"kind": "fraction", "keep": numpy.float32(0.5), "within": "request"}
    assert sum(filter_dataset(dataset, client, direction="numpy", selection=half)["keep"][:]) == 12


def test_dropped_rows_are_left_out_on_request(dataset: Dataset, client: congrad.Client) -> None:
    options: dict[str, Any] = {"selection": {"kind": "fraction", "keep": 0.5, "within": "language"}}
    kept = filter_dataset(dataset, client, drop=True, direction="dropping", **options).with_format(None)
    assert sorted(kept["language"]) == sorted(set(dataset["language"]))
    assert set(kept["keep"]) == {True}
    assert list(kept["id"]) == [name for name in dataset["id"] if name in set(kept["id"])]


def test_a_pair_without_a_score_has_a_null(client: congrad.Client) -> None:
    rows = Dataset.from_list([row | {"rejected": row["chosen"]} for row in demo_samples("de", "ja", each=1)])
    scored = filter_dataset(rows, client, direction="ties")
    assert scored["conflict_score"][:] == [None, None]
    assert scored["keep"][:] == [False, False]
    assert scored.features["conflict_score"] == Value("float64")


def test_the_language_may_be_in_another_column_or_in_none(client: congrad.Client) -> None:
    rows = Dataset.from_list(demo_samples("de", "ja", each=3))
    options: dict[str, Any] = {"update": False, "direction": "tags"}
    client.filter(rows, direction="tags")
    expected = filter_dataset(rows, client, **options)["conflict_score"][:]
    renamed = rows.rename_column("language", "lang")
    assert filter_dataset(renamed, client, "lang", **options)["conflict_score"][:] == expected
    assert filter_dataset(renamed, client, lambda row: row["id"][:2], **options)["conflict_score"][:] == expected


@pytest.mark.parametrize("library", [openrlhf, axolotl])
def test_rows_of_other_libraries_are_filtered_through_their_adapters(library: Any, client: congrad.Client) -> None:
    pairs = demo_samples("de", "ja", each=3)
    whole = [conversational_implicit(row) | {"language": row["language"]} for row in pairs]
    client.filter([conversational(row) | {"language": row["language"]} for row in pairs], direction="adapters")
    options: dict[str, Any] = {"update": False, "direction": "adapters"}
    expected = filter_dataset(Dataset.from_list(whole), client, **options)["conflict_score"][:]
    scored = filter_dataset(Dataset.from_list(whole), client, to_sample=library.to_sample, **options)
    assert scored["conflict_score"][:] == expected
    assert None not in expected


def test_splits_and_streams_come_back_as_such(client: congrad.Client) -> None:
    rows = Dataset.from_list(demo_samples("de", "ja", each=3))
    client.filter(rows.remove_columns("id"), direction="splits")
    options: dict[str, Any] = {"update": False, "direction": "splits"}
    expected = filter_dataset(rows, client, **options)
    splits = filter_dataset(DatasetDict(train=rows.take(4), test=rows.skip(4)), client, **options)
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "test": 2}
    assert [*splits["train"]["keep"], *splits["test"]["keep"]] == expected["keep"][:]
    stream = filter_dataset(rows.to_iterable_dataset(), client, **options)
    assert isinstance(stream, IterableDataset)
    assert [row["conflict_score"] for row in stream] == expected["conflict_score"][:]
    kept = filter_dataset(rows.to_iterable_dataset(), client, drop=True, **options)
    assert [row["id"] for row in kept] == [row["id"] for row in expected if row["keep"]]


def test_rows_of_other_tools_are_recognised(client: congrad.Client) -> None:
    pairs = demo_samples("de", "ja", each=3)
    chats = [conversational(row) | {"language": row["language"]} for row in pairs]
    client.filter(chats, direction="recognised")
    options: dict[str, Any] = {"update": False, "direction": "recognised"}
    plain = [{name: value for name, value in row.items() if name != "chat_template_kwargs"} for row in chats]
    expected = [decision.conflict_score for decision in client.filter(plain, **options).decisions]
    others = [
        {
            "input": {"messages": row["prompt"]},
            "preferred_output": row["chosen"],
            "non_preferred_output": row["rejected"],
            "lang": row["language"],
        }
        for row in plain
    ]
    assert filter_dataset(Dataset.from_list(others), client, **options)["conflict_score"][:] == expected


def judged(row: dict[str, Any], label: int) -> dict[str, Any]:
    """A pair as two answers with a label, 1 for the first and 2 for the second."""
    first, second = (row["chosen"], row["rejected"]) if label == 1 else (row["rejected"], row["chosen"])
    return {"language": row["language"], "prompt": row["prompt"], "answer_a": first, "answer_b": second, "label": label}


def test_what_verdicts_mean_is_one_question_about_all_rows_and_all_splits(client: congrad.Client) -> None:
    """Of the splits one has nothing but 1, which alone would be the second answer; and so has the beginning of the
    other."""
    pairs = demo_samples("de", "ja", each=3)
    client.filter([row | {"id": None} for row in pairs], direction="judged")
    options: dict[str, Any] = {"update": False, "direction": "judged"}
    wanted = [decision.conflict_score for decision in client.filter(pairs, **options).decisions]
    train = Dataset.from_list([judged(row, 1 + (row is pairs[3])) for row in pairs[:4]])
    test = Dataset.from_list([judged(row, 1) for row in pairs[4:]])
    found = filter_dataset(DatasetDict(train=train, test=test), client, **options)
    assert [*found["train"]["conflict_score"], *found["test"]["conflict_score"]] == wanted
    said = filter_dataset(test, client, verdict="1/2", **options)
    assert said["conflict_score"][:] == wanted[4:]


@pytest.mark.parametrize("filtered", [filter_dataset, lambda rows, client: filter_rows(list(rows), client)])
def test_verdicts_that_can_be_read_either_way_are_not_guessed(filtered: Any) -> None:
    """A batch of a loop, or a stream, may begin with nothing but 1."""
    rows = Dataset.from_list([judged(row, 1) for row in demo_samples(each=2)])
    for some in (rows, rows.to_iterable_dataset()):
        with congrad.Client(NOWHERE) as client, pytest.raises(ValueError, match=r"label holds nothing but 1.*verdict="):
            filtered(some, client)


@pytest.mark.parametrize(("label", "is_told"), [(0, True), ("false", True), (False, False), (None, False)])
def test_labels_that_are_none_are_told_of(label: Any, is_told: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A service for supervised fine-tuning takes what is left, and learns the unwanted answers."""
    rows = Dataset.from_list([{"language": "de", "prompt": "p", "completion": "-500", "label": label}])
    with congrad.Client("http://stub", transport=httpx.MockTransport(StubService())) as client:
        for filtered in (filter_dataset, lambda rows, client, **_: filter_rows(list(rows), client)):
            caplog.clear()
            filtered(rows, client, two_pass=False, idempotency_key="key")
            assert ("label is not read, as it is no boolean" in caplog.text) is is_told


def test_ties_are_not_sent_and_not_kept() -> None:
    pair = {"language": "de", "response_a": "-500", "response_b": "b"}
    rows = [pair | {"winner": winner} for winner in ("a", "tie", "a", "both_bad", "a")]
    stub, dataset = StubService(), Dataset.from_list(rows)
    options: dict[str, Any] = {"two_pass": False, "idempotency_key": "key"}
    with congrad.Client("http://stub", transport=httpx.MockTransport(stub)) as client:
        scored = filter_dataset(dataset, client, **options)
        stream = list(filter_dataset(dataset.to_iterable_dataset(), client))
        kept = filter_rows(rows, client)
        none = filter_rows(rows[1:2], client)
    assert scored["keep"][:] == [True, False, True, False, True]
    assert scored["conflict_score"][:] == [-0.5, None, -0.5, None, -0.5]
    assert [row["keep"] for row in stream] == [True, False, True, False, True]
    assert (kept, none) == (rows[::2], [])
    assert [len(body["samples"]) for body in stub.bodies] == [3, 3, 3]


def test_what_can_be_read_once_only_is_filtered_like_a_list() -> None:
    pairs = [{"language": "de", "prompt": "a", "chosen": "-500", "rejected": "c"}] * 3
    with congrad.Client("http://stub", transport=httpx.MockTransport(StubService())) as client:
        assert filter_rows(iter(pairs), client) == pairs  # type: ignore[arg-type] # it is no sequence


def test_a_stream_goes_on_knowing_its_columns() -> None:
    features = Features(
        {name: Value("string") for name in ("language", "prompt", "chosen", "rejected")}
        | {"source": ClassLabel(names=["a", "b"])}
    )
    pair = {"language": "de", "prompt": "a", "chosen": "-500", "rejected": "c", "source": 1}
    stream = Dataset.from_list([pair] * 3, features=features).to_iterable_dataset()
    with congrad.Client("http://stub", transport=httpx.MockTransport(StubService())) as client:
        for drop in (False, True):
            scored = filter_dataset(stream, client, drop=drop)
            assert scored.features == features | {"keep": Value("bool"), "conflict_score": Value("float64")}
            assert list(scored) == [pair | {"keep": True, "conflict_score": -0.5}] * 3


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_first_row_without_a_language_is_what_is_wrong_and_not_the_column(nothing: float | None) -> None:
    pair: dict[str, Any] = {"language": "de", "prompt": "a", "chosen": "b", "rejected": "c"}
    with (
        congrad.Client(NOWHERE, max_retries=0, max_downtime=0) as client,
        pytest.raises(congrad.CongradError) as caught,
    ):
        filter_rows([pair | {"language": nothing}, pair], client)
    assert nothing is None or "sample 0 cannot be sent: language: " in str(caught.value)
    with congrad.Client(NOWHERE) as client, pytest.raises(ValueError, match="has no column of languages"):
        filter_rows([pair | {"language": None}] * 2, client)


def test_what_is_no_client_and_what_are_no_rows_is_told() -> None:
    pair = {"language": "de", "prompt": "p", "chosen": "a", "rejected": "b"}
    others: tuple[Any, ...] = (congrad.AsyncClient("http://service"), "http://service")
    for other in others:
        with pytest.raises(TypeError, match=r"client is (AsyncClient|str); it should be a congrad\.Client"):
            filter_dataset(Dataset.from_list([pair]), other)
        with pytest.raises(TypeError, match=r"client is (AsyncClient|str); it should be a congrad\.Client"):
            filter_rows([pair], other)
    with congrad.Client("http://service", transport=httpx.MockTransport(StubService())) as client:
        nothing: tuple[Any, ...] = (pair, "pairs.jsonl", None)
        for rows in nothing:
            with pytest.raises(TypeError, match=r"rows is .* should be a list"):
                filter_rows(rows, client)
        with pytest.raises(ValueError, match="no column 'de'; language= names the column"):
            filter_rows([pair], client, "de")
        with pytest.raises(ValueError, match=r'in Python, fields=\{"chosen": "COLUMN"\}'):
            filter_rows([{"language": "de", "text": "a"}], client)


def test_a_batch_whose_prompts_would_be_lost_is_not_sent() -> None:
    rows = [{"language": "de", "query": "a", "chosen": "Ja.", "rejected": "Nein."}] * 2
    with congrad.Client(NOWHERE) as client, pytest.raises(ValueError, match="there is a column 'query' that is not"):
        filter_rows(rows, client)


@pytest.mark.parametrize("path", ["frage", "data.frage", "data.q.text"])
def test_a_prompt_that_is_named_and_not_there_is_told(path: str) -> None:
    row = {"language": "de", "data": {"q": None}, "chosen": "-500", "rejected": "b"}
    for filtered in (
        filter_rows,
        lambda rows, client, **options: filter_dataset(Dataset.from_list(rows), client, **options),
    ):
        with congrad.Client(NOWHERE) as client, pytest.raises(ValueError, match=f"no row has anything at '{path}'"):
            filtered([row], client, fields={"prompt": path})
    # A null is a missing value: the prompt is an implicit one.
    with congrad.Client("http://stub", transport=httpx.MockTransport(StubService())) as client:
        assert filter_rows([row], client, fields={"prompt": "data.q"}) == [row]


TOOL_TEMPLATE = "{{ tools | tojson }}{% for m in messages %}<|{{ m.role }}|>{{ m | tojson }}{% endfor %}"


def tool_call(name: str, **arguments: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def test_tool_calls_that_have_been_in_arrow_are_scored_as_trl_trains_on_them(tmp_path: Path) -> None:
    """Arguments that differ from call to call become nulls there. A file of such rows is read the same."""
    schema = {"type": "object", "properties": {"ort": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "wetter", "description": "", "parameters": schema}}
    other = {
        "name": "rechnen",
        "description": "",
        "parameters": {"type": "object", "properties": {"n": {"type": "int"}}},
    }
    rows = [
        {
            "language": "de",
            "prompt": [user("Wie ist das Wetter in Ulm?")],
            "chosen": [tool_call("rechnen", n="2") if number else tool_call("wetter", ort="Ulm")],
            "rejected": [assistant("Schön."), user("?")] if number else [tool_call("rechnen", n="1+1", exakt=True)],
            "tools": [tool, {"type": "function", "function": other}],
        }
        for number in range(2)
    ]
    dataset = Dataset(pyarrow.Table.from_pylist(rows))  # `from_list` would keep what differs as JSON
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = TOOL_TEMPLATE
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": None}
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer)
    config = DPOConfig(max_length=4096, **options)
    trained_on = DPOTrainer._prepare_dataset(trainer, dataset, tokenizer, config, "train")
    wanted = [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in trained_on]

    def scored(sample: dict[str, Any]) -> tuple[list[int], ...]:
        pair = Encoder(tokenizer, 4096).encode(congrad.Sample(**({"language": "de"} | sample)))
        return pair.prompt_ids, pair.chosen_ids, pair.rejected_ids

    assert [scored(to_sample(row)) for row in dataset] == wanted
    dataset.to_parquet(tmp_path / "rows.parquet")
    assert [scored(sample) for sample in read_samples(tmp_path / "rows.parquet")] == wanted
    assert "wetter" in str(tokenizer.decode(wanted[0][1]))


def test_rows_that_a_loop_has_made_are_those_that_the_service_keeps(stack: Stack) -> None:
    rows = demo_samples("de", "fr", "it", each=3)
    made = [{"spoken": row["language"], "row": number} | row for number, row in enumerate(rows)]
    for row in made:
        del row["language"]
    with congrad.Client(stack.url) as client:
        kept = filter_rows(made, client, "spoken", direction="made")
        again = client.filter(rows, direction="made")
        assert 0 < len(kept) < len(rows)
        assert kept == [row for row, keep in zip(made, again.keep, strict=True) if keep]
        assert filter_rows([], client, direction="made") == []
        with pytest.raises(ValueError, match="no column of languages"):
            filter_rows(made, client, direction="made")


def test_an_empty_dataset_gets_its_columns(stack: Stack) -> None:
    empty = Dataset.from_list(demo_samples("de", each=1)).select([])
    with congrad.Client(stack.url) as client:
        scored = filter_dataset(empty, client)
    assert scored.features["keep"] == Value("bool")
    assert len(scored) == 0


def test_what_cannot_be_filtered_is_said_before_anything_is_sent(dataset: Dataset) -> None:
    rows = dataset.with_format(None)
    with congrad.Client(NOWHERE, max_retries=0, max_downtime=0) as client:
        with pytest.raises(ValueError, match="a column 'keep' already; rename or remove it"):
            filter_dataset(rows.rename_column("mine", "keep"), client)
        with pytest.raises(ValueError, match="a column 'conflict_score' already"):
            filter_dataset(rows.rename_column("id", "conflict_score"), client)
        with pytest.raises(ValueError, match=r"no column 'lang'.*Its columns: id, language"):
            filter_dataset(rows, client, "lang")
        with pytest.raises(ValueError, match=r"no column of languages; language= .* Its columns: id, prompt"):
            filter_dataset(rows.remove_columns("language"), client)
        with pytest.raises(ValueError, match="two_pass waits for all rows, and an IterableDataset is a stream"):
            filter_dataset(rows.to_iterable_dataset(), client, two_pass=True)
        with pytest.raises(TypeError, match="dataset is list, not a Dataset, DatasetDict or IterableDataset"):
            filter_dataset(rows.to_list(), client)
        with pytest.raises(ValueError, match="a column 'query' that is not read: give --field prompt=query"):
            filter_dataset(rows.rename_column("prompt", "query"), client)
        with pytest.raises(congrad.InvalidSampleError, match=r"sample 0 .* its row has no 'context'; there are id"):
            filter_dataset(rows, client, to_sample=lambda row: {"prompt": row["context"]})
        other = Dataset.from_list([CONVERSATION, CONVERSATION | {"rejected": [user("?"), assistant("!")]}])
        with pytest.raises(congrad.InvalidSampleError, match=r"sample 1 .* does not begin with the 3 turns") as error:
            filter_dataset(other, client, lambda _: "it", to_sample=openrlhf.to_sample)
    assert error.value.position == 1


def test_a_dataset_is_kept_where_the_service_is_away_and_that_was_asked_for() -> None:
    """As with `Client.filter`, whose options these are."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    dataset = Dataset.from_list([{"language": "de", "prompt": "a", "chosen": "b", "rejected": "c"}] * 3)
    client = congrad.Client("http://stub", transport=httpx.MockTransport(refuse), max_downtime=0, max_retries=0)
    with client:
        assert filter_dataset(dataset, client, on_unavailable="keep")["keep"][:] == [True] * 3
        with pytest.raises(congrad.APIConnectionError):
            filter_dataset(dataset, client)


def test_a_service_that_is_silent_is_asked_whether_it_is_ready_and_nothing_else_once_it_was_waited_for() -> None:
    """Each question would last as long as its attempts may, in every call of a loop."""
    paths: list[str] = []

    def hang(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        raise httpx.ReadTimeout("silent", request=request)

    dataset = Dataset.from_list([{"language": "de", "prompt": "a", "chosen": "b", "rejected": "c"}] * 3)
    client = congrad.Client("http://stub", transport=httpx.MockTransport(hang), max_downtime=0, max_retries=0)
    with client:
        for _ in range(2):
            assert filter_dataset(dataset, client, on_unavailable="keep")["keep"][:] == [True] * 3
            asked, paths = {*paths}, []
    assert asked == {"/readyz"}


@pytest.mark.parametrize("on_unavailable", ["keep", pytest.param("drop", marks=pytest.mark.slow)])
def test_a_dataset_gets_through_wherever_the_service_goes_away_and_that_was_asked_for(
    on_unavailable: Any, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:

    def until_then(number: int, request: httpx.Request, send: Send) -> httpx.Response:
        return send() if number < last else away(request)

    rows = Dataset.from_list(demo_samples(each=1)[:4])
    for last in range(20):
        transport = FaultyTransport(until_then)
        with congrad.Client(stack.url, transport=transport, max_downtime=0, max_retries=0) as client:
            direction = f"gone-{on_unavailable}-{last}"
            caplog.clear()
            scored = filter_dataset(rows, client, direction=direction, batch_size=2, on_unavailable=on_unavailable)
        undecided = [row["keep"] for row in scored if row["conflict_score"] is None]
        assert undecided == [on_unavailable == "keep"] * len(undecided)
        if not caplog.records:
            break
    assert len(transport.asked) <= last < 20
    assert not undecided


def test_a_service_that_is_started_again_is_no_error_to_a_dataset_at_any_point(stack: Stack) -> None:

    def for_a_moment(number: int, request: httpx.Request, send: Send) -> httpx.Response:
        return away(request) if moment in (number, number - 1) else send()

    rows = Dataset.from_list(demo_samples(each=1)[:4])
    found = []
    for moment in range(20):
        transport = FaultyTransport(for_a_moment)
        with congrad.Client(stack.url, transport=transport, max_downtime=30, max_retries=0) as client:
            scored = filter_dataset(rows, client, direction=f"restart-{moment}", batch_size=4)
        found.append(scored["keep"][:])
        if len(transport.asked) <= moment:
            break
    assert len(found) > 5
    assert all(keep == found[0] for keep in found)
