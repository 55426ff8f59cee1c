"""Rows as the tools and data sets of others have them: what they are recognised as, and the samples that are read."""

from typing import Any

import congrad
import pytest
from congrad.contract.samples import COLUMNS, COMPLETIONS
from congrad.formats import FORMATS, Fields, UnknownFormatError, Verdict, VerdictError, named, recognised
from congrad.formats.verdict import TieError

Q, GOOD, BAD = "Che ore sono?", "Sono le tre.", "Boh."


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def spoken(who: str, text: str) -> dict[str, str]:
    return {"from": who, "value": text}


ASKED, ANSWERED, MUMBLED = said("user", Q), said("assistant", GOOD), said("assistant", BAD)
BRIEF = said("system", "Sii breve.")
CHAT = {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [MUMBLED]}
TEXT = {"prompt": Q, "chosen": GOOD, "rejected": BAD}
WHOLE = {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, MUMBLED]}
TRANSCRIPTS = {name: f"\n\nHuman: {Q}\n\nAssistant: {text}" for name, text in (("chosen", GOOD), ("rejected", BAD))}
CALL = {"name": "orologio", "arguments": {"fuso": "Roma"}}
CALLED = {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL}]}
HEARD = said("tool", "15:00")

JUDGED = {"prompt": [ASKED], "completion": [ANSWERED], "label": True}

ROWS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("trl", TEXT, TEXT),
    ("trl", {"chosen": f"{Q} {GOOD}", "rejected": f"{Q} {BAD}"}, {"chosen": f"{Q} {GOOD}", "rejected": f"{Q} {BAD}"}),
    ("trl", CHAT, CHAT),
    ("trl", WHOLE, WHOLE),
    ("trl", {"prompt": Q, "completion": GOOD}, {"prompt": Q, "completion": GOOD}),
    # As ultrafeedback_binarized has it: messages are another copy of chosen.
    (
        "trl",
        {"prompt": Q, "chosen": [ASKED, ANSWERED], "rejected": [ASKED, MUMBLED], "messages": [ASKED, ANSWERED]},
        {"prompt": Q, "chosen": [ASKED, ANSWERED], "rejected": [ASKED, MUMBLED]},
    ),
    (
        "openai",
        {
            "input": {"messages": [ASKED], "tools": []},
            "preferred_output": [ANSWERED],
            "non_preferred_output": [MUMBLED],
        },
        CHAT,
    ),
    ("ms-swift", {"messages": [ASKED, ANSWERED], "rejected_response": BAD}, CHAT),
    (
        "ms-swift",
        {"system": "Sii breve.", "messages": [ASKED, ANSWERED], "rejected_messages": [ASKED, MUMBLED]},
        {"chosen": [BRIEF, ASKED, ANSWERED], "rejected": [BRIEF, ASKED, MUMBLED]},
    ),
    (
        "ms-swift",
        {"query": Q, "response": GOOD, "rejected_response": BAD, "history": [["Ciao", "Ciao!"]]},
        CHAT | {"prompt": [said("user", "Ciao"), said("assistant", "Ciao!"), ASKED]},
    ),
    (
        "alpaca",
        {"instruction": "Che ore", "input": "sono?", "history": [["a", "b"]], "chosen": GOOD, "rejected": BAD},
        CHAT | {"prompt": [said("user", "a"), said("assistant", "b"), said("user", "Che ore\nsono?")]},
    ),
    (
        "sharegpt",
        {"conversations": [spoken("human", Q)], "chosen": spoken("gpt", GOOD), "rejected": spoken("gpt", BAD)},
        CHAT,
    ),
    (
        "sharegpt",
        {"conversations": [spoken("human", Q)], "chosen": [spoken("gpt", GOOD)], "rejected": [spoken("gpt", BAD)]},
        CHAT,
    ),
    (
        "sharegpt",
        {
            "chosen": [spoken("human", Q), spoken("gpt", GOOD)],
            "rejected": [spoken("human", Q), spoken("gpt", BAD)],
        },
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, MUMBLED]},
    ),
    (
        "sharegpt",
        {
            "system": "Sii breve.",
            "conversations": [
                spoken("human", Q),
                spoken("function_call", '{"name": "orologio", "arguments": {"fuso": "Roma"}}'),
                spoken("observation", "15:00"),
            ],
            "chosen": spoken("gpt", GOOD),
            "rejected": spoken("gpt", BAD),
        },
        CHAT
        | {
            "prompt": [
                BRIEF,
                ASKED,
                {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL}]},
                said("tool", "15:00"),
            ]
        },
    ),
    ("axolotl", {"messages": [ASKED], "chosen": ANSWERED, "rejected": MUMBLED}, CHAT),
    ("axolotl", {"messages": [ASKED], "chosen": GOOD, "rejected": BAD}, CHAT),
    (
        "question",
        {"system": "Sii breve.", "question": Q, "chosen": GOOD, "rejected": BAD},
        CHAT | {"prompt": [BRIEF, ASKED]},
    ),
    ("question", {"input": Q, "chosen": GOOD, "rejected": BAD, "generations": [GOOD, BAD], "rating": [9, 2]}, CHAT),
    ("alpaca", {"instruction": Q, "chosen": GOOD, "rejected": BAD}, CHAT),
    ("question", {"instruction": Q, "chosen_response": GOOD, "rejected_response": BAD}, CHAT),
    ("hh", TRANSCRIPTS, TRANSCRIPTS),
    ("compared", {"prompt": Q, "response_a": GOOD, "response_b": BAD, "winner": "model_a"}, TEXT),
    ("compared", {"prompt": Q, "response_a": BAD, "response_b": GOOD, "label": "B"}, TEXT),
    ("compared", {"prompt": Q, "response_a": GOOD, "response_b": BAD, "label": 0}, TEXT),
    ("compared", {"prompt": Q, "response_a": BAD, "response_b": GOOD, "label_a": 2, "label_b": 5}, TEXT),
    # As MENLO has it: the full prompt is that of the judge.
    (
        "compared",
        {"raw_prompt": Q, "full_prompt": [ASKED], "response_a": BAD, "response_b": GOOD, "label_a": 2, "label_b": 5},
        TEXT,
    ),
    ("compared", {"context": [ASKED], "response1": GOOD, "response2": BAD, "overall_preference": -2}, CHAT),
    ("compared", {"context": [ASKED], "response1": BAD, "response2": GOOD, "overall_preference": 1}, CHAT),
    ("compared", {"prompt": Q, "response_1": GOOD, "response_2": BAD, "preference_strength": -2}, TEXT),
    (
        "compared",
        {"prompt": Q, "response_a": BAD, "response_b": GOOD, "score_a": 1, "score_b": 4, "preference_strength": -3},
        TEXT,
    ),
    (
        "compared",
        {"conversation_a": [ASKED, ANSWERED], "conversation_b": [ASKED, MUMBLED], "winner": "model_a"},
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, MUMBLED]},
    ),
    # Answers of several turns, as where tools are called, go on after the prompt; whole conversations hold it.
    (
        "compared",
        {"prompt": Q, "response_a": [CALLED, HEARD, ANSWERED], "response_b": [MUMBLED], "winner": "model_a"},
        CHAT | {"chosen": [CALLED, HEARD, ANSWERED]},
    ),
    (
        "compared",
        {"prompt": Q, "response_a": [CALLED, HEARD, MUMBLED], "response_b": [ANSWERED], "winner": "b"},
        CHAT | {"rejected": [CALLED, HEARD, MUMBLED]},
    ),
    (
        "sharegpt",
        {
            "conversations": [spoken("system", "Sii breve."), spoken("human", Q)],
            "chosen": [spoken("system", "Sii breve."), spoken("human", Q), spoken("gpt", GOOD)],
            "rejected": [spoken("system", "Sii breve."), spoken("human", Q), spoken("gpt", BAD)],
        },
        CHAT | {"prompt": [BRIEF, ASKED]},
    ),
    ("generations", {"instruction": Q, "generations": [BAD, "Sono le due.", GOOD], "ratings": [1.0, None, 5]}, CHAT),
    ("ranked", {"prompt": Q, "answers": [{"answer": BAD, "rank": 2}, {"answer": GOOD, "rank": 1}]}, CHAT),
    (
        "ranked",
        {
            "context": [ASKED],
            "completions": [{"rank": 0, "completion": [ANSWERED]}, {"rank": 1, "completion": MUMBLED}],
        },
        CHAT,
    ),
    (
        "arena",
        {"prompt": [Q], "response_a": [GOOD], "response_b": [BAD], "winner_model_a": 1, "winner_model_b": 0},
        WHOLE,
    ),
    ("kto", {"messages": [BRIEF, ASKED, ANSWERED], "label": True}, {**JUDGED, "prompt": [BRIEF, ASKED]}),
    ("kto", {"question": Q, "completion": GOOD, "label": True}, JUDGED),
    ("shp", {"history": Q, "human_ref_A": BAD, "human_ref_B": GOOD, "labels": 0}, TEXT),
    (
        "webgpt",
        {"question": {"full_text": Q}, "answer_0": GOOD, "answer_1": BAD, "score_0": 0.5, "score_1": -0.5},
        TEXT,
    ),
    ("summaries", {"info": {"post": Q}, "summaries": [{"text": BAD}, {"text": GOOD}], "choice": 1}, TEXT),
]


@pytest.mark.parametrize(("name", "row", "sample"), ROWS)
def test_a_row_is_recognised_and_read(name: str, row: dict[str, Any], sample: dict[str, Any]) -> None:
    found = recognised([row | {"language": "it", "id": 7, "score": 0.5}])
    assert found.fields.format.name == name
    assert f"(--format {name}); language from language" in found.told
    assert found.fields.read(row | {"language": "it", "score": 0.5}) == {"language": "it", **sample}
    model = congrad.PromptCompletion if "completion" in sample else congrad.Sample
    model.model_validate({"language": "it", **sample})


@pytest.mark.parametrize(("name", "row", "sample"), ROWS)
def test_columns_that_are_null_change_nothing(name: str, row: dict[str, Any], sample: dict[str, Any]) -> None:
    """Arrow gives each row all columns that any row has; without its answers a row is none of its format."""
    widened = dict.fromkeys(set(COLUMNS) - set(COMPLETIONS)) | row
    found = recognised([widened])
    assert found.fields.format.name == name
    assert found.fields.read(widened) == sample


def test_every_format_has_a_row_here_or_is_never_recognised() -> None:
    assert {form.name for form in FORMATS} - {name for name, _, _ in ROWS} == {"openrlhf"}


def test_openrlhf_is_read_where_it_is_named() -> None:
    fields = recognised([{"chosen": "a b", "rejected": "a c"}], name="openrlhf").fields
    assert fields.read({"chosen": "a b", "rejected": "a c"}) == {"prompt": "", "chosen": "a b", "rejected": "a c"}
    assert fields.read({"chosen": [ASKED, ANSWERED], "rejected": [ASKED, MUMBLED]}) == CHAT
    with pytest.raises(ValueError, match="rejected does not begin with the 1 turns"):
        fields.read({"chosen": [ASKED, ANSWERED], "rejected": [BRIEF, MUMBLED]})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response_a": "a", "response_b": "b", "winner": "tie"}, "winner is 'tie', so neither answer is preferred"),
        ({"response1": "a", "response2": "b", "overall_preference": 0}, "so neither answer is preferred"),
        ({"response_a": "a", "response_b": "b", "label_a": 3, "label_b": 3}, "are both 3, so neither"),
        ({"response_a": "a", "response_b": "b", "label": 7}, "does not say which answer is better"),
        (
            {"prompt": "p", "generations": ["a", "b"], "ratings": [3, 3]},
            "all its generations are rated 3, so none is preferred",
        ),
    ],
)
def test_a_row_that_prefers_neither_is_no_sample(row: dict[str, Any], message: str) -> None:
    fields = recognised([row]).fields
    with pytest.raises(ValueError, match=message):
        fields.read(row)


def compared(*labels: Any, column: str = "label", names: tuple[str, str] = ("response_a", "response_b")) -> Any:
    """Rows of two answers, the first the good one."""
    return [{"prompt": Q, names[0]: GOOD, names[1]: BAD, column: label} for label in labels]


def chosen(rows: Any, fields: Fields | None = None, **options: Any) -> list[Any]:
    found = recognised(rows, fields, **options).fields
    return [found.read(row)["chosen"] for row in rows]


def test_what_numbers_of_a_label_mean_is_told_by_those_of_all_rows() -> None:
    rows = compared(1, 2)
    found = recognised(
        rows[:1], every=lambda columns: [{name: row[name] for name in columns & row.keys()} for row in rows]
    )
    assert "label (1 is the first answer, 2 the second; --verdict says otherwise)" in found.told
    assert [found.fields.read(row)["chosen"] for row in rows] == [GOOD, BAD]
    with pytest.raises(ValueError, match="'0', which does not say which answer is better"):
        found.fields.read(rows[0] | {"label": 0})


@pytest.mark.parametrize(
    ("labels", "column", "holds"),
    [
        ((1, 1), "label", "nothing but 1"),
        (("1", 7), "label", "1 and other numbers"),
        ((True, False), "better", "nothing but true or false"),
        ((0, 1, 2), "choice", "0, 1 and 2"),
        ((1, 2, 3), "preference", "1, 2 and other numbers"),
        ((1, 2, 3), "preference_strength", "1, 2 and other numbers"),
        ((0, 1, -1), "label", "numbers below zero, 0 and 1"),
    ],
)
def test_numbers_that_can_be_read_either_way_stop_the_run(labels: Any, column: str, holds: str) -> None:
    """A wrong guess would swap all pairs."""
    rows = compared(*labels, column=column)
    with pytest.raises(VerdictError, match=f"^{column} holds {holds}, which does not say which of response_a and resp"):
        recognised(rows)


def test_numbers_that_are_the_names_of_the_answers_are_clear() -> None:
    names = ("response_0", "response_1")
    assert chosen(compared(1, column="better_response_id", names=names)) == [BAD]
    assert chosen(compared("response_1", "response_0", names=names)) == [BAD, GOOD]
    assert chosen(compared("response_1", "response_2", names=("response_1", "response_2"))) == [GOOD, BAD]


def test_below_zero_is_a_sign_in_any_column() -> None:
    for column in ("label", "preference", "preference_strength"):
        assert chosen(compared(-2, 1, column=column)) == [GOOD, BAD]
    assert chosen(compared(-1, 0.5, 1, column="preference_strength")) == [GOOD, BAD, BAD]


@pytest.mark.parametrize(
    ("said", "first", "second"),
    [
        ("0/1", 0, 1),
        ("1/0", "1", 0.0),
        ("1/2", 1.0, "2"),
        ("A/b", "a ", "B"),
        ("true/false", True, "False"),
        ("-/+", -3, 0.5),
        ("+/-", 2, "-1"),
    ],
)
def test_what_verdicts_mean_can_be_said(said: str, first: Any, second: Any) -> None:
    fields = Fields(verdict=Verdict.of(said))
    rows = compared(first, second)
    assert chosen(rows, fields) == [GOOD, BAD]
    assert [chosen([row], fields) for row in rows] == [[GOOD], [BAD]], "whatever else there is"
    assert "says otherwise" not in recognised(rows, fields).told
    for other in ("tie", 0 if "+" in said else 7):
        with pytest.raises(ValueError, match=r"which does not say which answer is better|so neither answer"):
            chosen(compared(other), fields)


@pytest.mark.parametrize(
    ("said", "ties"),
    [("1/2", ["tie", 0]), ("-1/1", [0, "both_bad"]), ("0/1/2", [2.0, "tie"]), ("a/b/none", ["None"]), ("tie/b", [0])],
)
def test_what_stands_for_neither_is_a_tie_where_it_is_said_or_can_be_nothing_else(said: str, ties: list[Any]) -> None:
    fields = Fields(verdict=Verdict.of(said))
    first, second = said.split("/")[:2]
    assert chosen(compared(first, second), fields) == [GOOD, BAD]
    for tie in ties:
        with pytest.raises(TieError, match="so neither answer is preferred"):
            chosen(compared(tie), fields)


@pytest.mark.parametrize("missing", [float("nan"), None, "", 10**400])
def test_a_score_that_is_missing_or_no_number_says_nothing(missing: Any) -> None:
    row = {"prompt": "q", "response_a": GOOD, "response_b": BAD, "score_a": 3, "score_b": missing, "language": "de"}
    with pytest.raises(ValueError, match="nothing says which of the two answers is better"):
        chosen([row])


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "1/1", "-/1", "a/-", "1/1.0", "0/-0", "+/1", "a/b/a", "a/b/c/d", "-/+/0"]
)
def test_what_says_no_verdict_is_refused(text: str) -> None:
    with pytest.raises(VerdictError, match="should be FIRST/SECOND, such as 0/1"):
        Verdict.of(text)


def test_a_verdict_is_not_said_of_rows_that_have_none() -> None:
    with pytest.raises(VerdictError, match="--verdict is about two answers with a verdict, and the rows are TRL's"):
        recognised([TEXT], Fields(verdict=Verdict.of("1/2")))


def test_rows_of_no_format_are_told_their_fields_and_the_nearest_formats() -> None:
    with pytest.raises(
        UnknownFormatError, match=r"the fields are instruction, generations, notes\.(.|\n)*generations: in"
    ):
        recognised([{"instruction": "a", "generations": ["b"], "notes": 1}])
    with pytest.raises(UnknownFormatError, match=r"the fields are Prompt, Chosen, Rejected\.(.|\n)*\n  trl: chosen"):
        recognised([{"Prompt": "a", "Chosen": "b", "Rejected": "c"}])
    with pytest.raises(ValueError, match="there is no format 'trll'; there are auto, openai"):
        named("trll")


def test_a_row_of_another_format_is_no_sample() -> None:
    fields = recognised([{"input": {"messages": [ASKED]}, "preferred_output": 1, "non_preferred_output": 1}]).fields
    with pytest.raises(ValueError, match=r"is not of the format openai \(input\.messages, preferred_output"):
        fields.read({"chosen": "a"})


def test_fields_are_found_along_paths_and_roles_by_their_names() -> None:
    row = {"io": {"turns": [spoken("Kunde", "Hallo?")]}, "out": [{"text": "Hallo!"}, {"text": "Was?"}]}
    fields = Fields(
        {"prompt": "io.turns", "chosen": "out.0.text", "rejected": "out.1.text"}, "de", roles={"Kunde": "user"}
    )
    found = recognised([row], fields)
    assert found.fields.read(row) == {
        "language": "de",
        "prompt": [said("user", "Hallo?")],
        "chosen": [said("assistant", "Hallo!")],
        "rejected": [said("assistant", "Was?")],
    }


@pytest.mark.parametrize(
    "column", ["lang", "locale", "lang_code", "language_code", "assigned_lang", "metadata.language"]
)
def test_the_column_of_languages_is_guessed_and_said(column: str) -> None:
    folder, dot, name = column.partition(".")
    row = TEXT | ({folder: {name: "pt_BR"}} if dot else {column: "pt_BR"})
    found = recognised([row])
    assert found.told.endswith(f"; language from {column}")
    assert found.fields.read(row)["language"] == "pt_BR"


def test_a_system_prompt_that_is_not_read_is_said() -> None:
    row = TEXT | {"system": "Sii breve."}
    assert "system is not read: --format question makes it the system turn" in recognised([row]).told
    fields = recognised([row], name="question").fields
    assert fields.read(row) == CHAT | {"prompt": [BRIEF, ASKED]}


def test_so_is_one_of_completions_with_a_label() -> None:
    row = {"prompt": Q, "completion": GOOD, "label": True, "system": "Sii breve."}
    assert "system is not read: --format kto makes it the system turn" in recognised([row]).told
    assert recognised([row], name="kto").fields.read(row) == JUDGED | {"prompt": [BRIEF, ASKED]}


def test_keys_that_are_null_are_missing_in_every_format() -> None:
    """Chatbot Arena has them in each block of text, and `datasets` in every row of any format."""
    blocks = {text: [{"type": "text", "text": text, "image": None}] for text in (Q, GOOD, BAD)}
    first, second = ([ASKED | {"content": blocks[Q]}, ANSWERED | {"content": blocks[text]}] for text in (GOOD, BAD))
    row = {"language": "it", "conversation_a": first, "conversation_b": second, "winner": "model_a"}
    sample = recognised([row]).fields.read(row)
    assert sample["chosen"][1]["content"] == [{"type": "text", "text": GOOD}]
    congrad.Sample.model_validate(sample)


@pytest.mark.parametrize("name", ["preference_statement", "safer_response_id", "preference.responses"])
def test_of_two_answers_without_a_verdict_none_is_said_to_be_named_as_chosen(name: str) -> None:
    """It would be the worse one in half of the rows."""
    with pytest.raises(UnknownFormatError, match="two answers, response_1 and response_2, and no column") as caught:
        recognised([{"prompt": Q, "response_1": GOOD, "response_2": BAD, name: 1}])
    assert "--field chosen" not in str(caught.value)
    assert name in str(caught.value)
    assert "called winner, label" in str(caught.value)


@pytest.mark.parametrize(("label", "is_read"), [(1, False), ("0", False), (True, True), (None, True)])
def test_labels_of_completions_that_are_none_are_told(label: Any, is_read: bool) -> None:
    """Else completions that are not wanted would count as those that are."""
    told = recognised([{"language": "it", "prompt": Q, "completion": GOOD, "label": label}]).told
    assert ("label is not read, as it is no boolean, true or false" in told) is not is_read


def test_a_label_of_a_pair_is_of_another_use_and_needs_no_word() -> None:
    assert "label" not in recognised([TEXT | {"language": "it", "label": 1}]).told


def test_a_history_may_be_in_json_and_what_is_none_is_said() -> None:
    row = {"language": "it", "instruction": Q, "chosen": GOOD, "rejected": BAD}
    fields = recognised([row]).fields
    right: list[Any] = [[["a", "b"]], '[["a", "b"]]', [("a", "b")]]
    for history in right:
        assert fields.read(row | {"history": history})["prompt"] == [said("user", "a"), said("assistant", "b"), ASKED]
    assert fields.read(row | {"history": ""})["prompt"] == [ASKED]
    wrong: list[Any] = ["ieri", "[['a', 'b']]", [["a"]], 7]
    for history in wrong:
        with pytest.raises(ValueError, match=r"history should be a list of \[question, answer\]"):
            fields.read(row | {"history": history})


def test_a_rating_that_is_no_number_is_named() -> None:
    row = {"language": "it", "instruction": Q, "generations": [GOOD, BAD], "ratings": ["5", "N/A"]}
    with pytest.raises(ValueError, match="a rating is 'N/A', which is no number"):
        recognised([row]).fields.read(row)


@pytest.mark.parametrize("name", ["generations", "ranked"])
def test_a_listing_without_a_prompt_is_named(name: str) -> None:
    row = next(row for other, row, _ in ROWS if other == name)
    without = row | dict.fromkeys({"instruction", "prompt", "question"} & row.keys())
    with pytest.raises(ValueError, match=r"has no prompt: .* are null or missing"):
        recognised([row]).fields.read(without)


FOREIGN = [("trl", "alpaca"), ("trl", "axolotl"), ("trl", "question"), ("alpaca", "trl"), ("alpaca", "sharegpt"),
           ("sharegpt", "trl"), ("sharegpt", "alpaca"), ("question", "sharegpt"), ("hh", "alpaca")]  # fmt: skip


@pytest.mark.parametrize(("most", "other"), FOREIGN)
def test_a_row_of_another_format_does_not_lose_its_prompt(most: str, other: str) -> None:
    """Files that are put together are read as most of their rows are."""
    row, foreign = ({"language": "it"} | next(r for name, r, _ in ROWS if name == wanted) for wanted in (most, other))
    fields = recognised([row, row, foreign]).fields
    assert fields.format.name == most
    with pytest.raises(ValueError, match=f"has no prompt as {most}, .* but one as {other}: .* --format {most}"):
        fields.read(foreign)
    said = recognised([row, row, foreign], name=most).fields
    assert "rejected" in said.read(foreign)


WITH_COPY = {**WHOLE, "messages": [ASKED, ANSWERED]}
OTHERS = [("axolotl", {**WITH_COPY, "prompt": Q}), ("axolotl", WITH_COPY), ("alpaca", {**TEXT, "instruction": "it-7"}),
          ("alpaca", {**WHOLE, "instruction": Q}), ("question", {**CHAT, "question": "it-7"})]  # fmt: skip


@pytest.mark.parametrize(("most", "foreign"), OTHERS)
def test_a_row_of_another_format_does_not_change_its_prompt(most: str, foreign: dict[str, Any]) -> None:
    """Where messages are another copy of chosen, what is preferred would be in the prompt."""
    row = {"language": "it"} | next(row for name, row, _ in ROWS if name == most)
    foreign = {"language": "it", **foreign}
    with pytest.raises(ValueError, match=f"has another prompt as trl than as {most}, .* --format {most} if all are"):
        recognised([row, row, foreign]).fields.read(foreign)


def test_a_prompt_that_is_the_same_in_both_formats_is_no_other() -> None:
    row = {"language": "it"} | next(row for name, row, _ in ROWS if name == "alpaca")
    both = {"language": "it", **TEXT, "instruction": Q, "system": "Sii breve."}
    assert recognised([row, row, both]).fields.read(both)["prompt"] == [BRIEF, ASKED]


@pytest.mark.parametrize(
    "row",
    [
        {"question": Q, "chosen": f"{Q} {GOOD}", "rejected": f"{Q} {BAD}"},
        {"input": "it-7", "chosen": f"Che ore sono oggi? {GOOD}", "rejected": f"Che ore sono oggi? {BAD}"},
        {"instruction": Q, **WHOLE},
        {"prompt": "", "instruction": Q, "chosen": GOOD, "rejected": BAD},
    ],
)
def test_a_prompt_that_answers_begin_with_or_that_is_empty_is_not_lost(row: dict[str, Any]) -> None:
    sample = recognised([TEXT, TEXT, row]).fields.read(row)
    assert sample == {name: row[name] for name in ("prompt", "chosen", "rejected") if name in row}
