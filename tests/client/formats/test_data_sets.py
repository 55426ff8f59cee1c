"""Rows with the columns of public data sets, and what is read of them."""

import json
from typing import Any

import congrad
import pytest
from congrad.formats import UnknownFormatError, recognised
from congrad.formats.verdict import TieError

Q, GOOD, BAD = "Wie spät ist es gerade?", "Es ist drei Uhr.", "Keine Ahnung."


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED, ANSWERED, MUMBLED = said("user", Q), said("assistant", GOOD), said("assistant", BAD)
TEXT = {"prompt": Q, "chosen": GOOD, "rejected": BAD}
CHAT = {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [MUMBLED]}
WHOLE = {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, MUMBLED]}
TRANSCRIPT = f"\n\nHuman: {Q}\n\nAssistant: "

NECTAR: dict[str, Any] = {
    "prompt": TRANSCRIPT,
    "answers": [
        {"answer": BAD, "model": "a", "rank": 3.0},
        {"answer": GOOD, "model": "b", "rank": 1.0},
        {"answer": "Es ist zwei Uhr.", "model": "c", "rank": 2.0},
    ],
    "turns": 1,
    "num_responses": 3,
    "source": ["sharegpt"],
    "good_natured": True,
}
NEMO_RL: dict[str, Any] = {
    "context": [ASKED],
    "completions": [{"rank": 1, "completion": [MUMBLED]}, {"rank": 0, "completion": [ANSWERED]}],
    "task_name": "t",
}
ULTRAFEEDBACK: dict[str, Any] = {
    "source": "evol_instruct",
    "instruction": Q,
    "models": ["a", "b"],
    "completions": [
        {
            "model": "a",
            "response": GOOD,
            "custom_system_prompt": "Hilf.",
            "overall_score": 8.5,
            "fine-grained_score": 4,
        },
        {"model": "b", "response": BAD, "custom_system_prompt": "Hilf.", "overall_score": 1.0, "fine-grained_score": 5},
    ],
}
STACK_EXCHANGE: dict[str, Any] = {
    "qid": 1,
    "question": Q,
    "metadata": ["https://stackexchange.com"],
    "answers": [
        {"answer_id": 1, "author": "a", "pm_score": -1, "selected": False, "text": BAD},
        {"answer_id": 2, "author": "b", "pm_score": 4, "selected": True, "text": GOOD},
    ],
}
SHP: dict[str, Any] = {
    "post_id": "p",
    "history": Q,
    "human_ref_A": GOOD,
    "human_ref_B": BAD,
    "labels": 1,
    "score_A": 340,
    "score_B": 166,
    "score_ratio": 2.05,
}
WEBGPT: dict[str, Any] = {
    "question": {"dataset": "eli5", "id": "x", "full_text": Q},
    "quotes_0": {"title": [], "extract": []},
    "answer_0": BAD,
    "tokens_0": {"prefix": [1], "completion": [2]},
    "score_0": -0.5,
    "answer_1": GOOD,
    "score_1": 0.5,
}
SUMMARIES: dict[str, Any] = {
    "info": {"id": "t", "post": Q, "title": "Uhr", "subreddit": "r", "site": None, "article": None},
    "summaries": [{"text": BAD, "policy": "ref", "note": ""}, {"text": GOOD, "policy": "sup", "note": ""}],
    "choice": 1,
    "worker": "w",
    "batch": "b",
}
HELPSTEER2: dict[str, Any] = {
    "split": "train",
    "prompt": Q,
    "response_1": GOOD,
    "response_2": BAD,
    "preference_strength": -1,
    "preference_statement": "",
    "all_preferences_unprocessed": [],
}
SAFE_RLHF: dict[str, Any] = {
    "prompt": Q,
    "response_0": BAD,
    "response_1": GOOD,
    "is_response_0_safe": True,
    "is_response_1_safe": True,
    "better_response_id": 1,
    "safer_response_id": 0,
}
ARENA: dict[str, Any] = {
    "model_a": "a",
    "model_b": "b",
    "winner": "model_b",
    "conversation_a": [ASKED, MUMBLED],
    "conversation_b": [ASKED, ANSWERED],
    "turn": 1,
}
KAGGLE: dict[str, Any] = {
    "id": 1,
    "prompt": json.dumps([Q]),
    "response_a": json.dumps([BAD]),
    "response_b": json.dumps([GOOD]),
    "winner_model_a": 0,
    "winner_model_b": 1,
    "winner_tie": 0,
}

DATA_SETS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "berkeley-nest/Nectar": (NECTAR, "ranked", {"prompt": TRANSCRIPT, "chosen": GOOD, "rejected": BAD}),
    "NeMo-RL": (NEMO_RL, "ranked", CHAT),
    "openbmb/UltraFeedback": (ULTRAFEEDBACK, "ranked", CHAT),
    "HuggingFaceH4/stack-exchange-preferences": (STACK_EXCHANGE, "ranked", CHAT),
    "stanfordnlp/SHP": (SHP, "shp", TEXT),
    "openai/webgpt_comparisons": (WEBGPT, "webgpt", TEXT),
    "openai/summarize_from_feedback": (SUMMARIES, "summaries", TEXT),
    "nvidia/HelpSteer2": (HELPSTEER2, "compared", TEXT),
    "PKU-Alignment/PKU-SafeRLHF": (SAFE_RLHF, "compared", TEXT),
    "lmarena-ai/arena-human-preference-100k": (ARENA, "compared", WHOLE),
    "lmsys/lmsys-arena-human-preference-55k": (KAGGLE, "arena", WHOLE),
    "allenai/llama-3.1-tulu-3-8b-preference-mixture": (WHOLE | {"prompt": Q}, "trl", WHOLE | {"prompt": Q}),
    "Skywork/Skywork-Reward-Preference-80K-v0.2": (WHOLE | {"source": "s"}, "trl", WHOLE),
    "argilla/dpo-mix-7k": (WHOLE | {"dataset": "d", "chosen_rating": 5.0}, "trl", WHOLE),
    "mlabonne/orpo-dpo-mix-40k": (
        WHOLE | {"prompt": Q, "question": Q, "source": "s"},
        "trl",
        WHOLE | {"prompt": Q},
    ),
    "Intel/orca_dpo_pairs": (
        {"system": "", "question": Q, "chosen": GOOD, "rejected": BAD},
        "question",
        CHAT,
    ),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_row_of_a_data_set_is_recognised_and_read(name: str) -> None:
    row, form, sample = DATA_SETS[name]
    found = recognised([row | {"language": "de"}])
    assert found.fields.format.name == form
    assert found.fields.read(row | {"language": "de"}) == {"language": "de", **sample}
    congrad.Sample.model_validate({"language": "de", **sample})


def read(row: dict[str, Any]) -> dict[str, Any]:
    return recognised([row]).fields.read(row)


def test_the_other_verdict_swaps_the_answers() -> None:
    swapped = {"prompt": Q, "chosen": BAD, "rejected": GOOD}
    assert read(SHP | {"labels": 0}) == read(SUMMARIES | {"choice": 0}) == swapped
    assert read(WEBGPT | {"score_0": 0.25, "score_1": -0.25}) == swapped
    assert recognised([HELPSTEER2]).fields.read(HELPSTEER2 | {"preference_strength": 2}) == swapped


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (SHP, {"labels": 2}),
        (SHP, {"labels": None}),
        (SHP, {"labels": "A"}),
        (SUMMARIES, {"choice": -1}),
        (WEBGPT, {"score_1": None}),
    ],
)
def test_a_verdict_that_the_card_does_not_know_says_nothing(row: dict[str, Any], verdict: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not say which"):
        recognised([row]).fields.read(row | verdict)


def test_what_numbers_mean_where_a_card_says_it_is_said() -> None:
    told = recognised([SHP]).told
    assert "the pairs of Stanford's SHP, of which human_ref_A is the better one where labels is 1" in told


@pytest.mark.parametrize(
    "row",
    [
        WEBGPT | {"score_0": 0.0, "score_1": 0.0},
        NECTAR | {"answers": [{"answer": GOOD, "rank": 1}, {"answer": BAD, "rank": 1}]},
        NEMO_RL | {"completions": [{"rank": 0, "completion": [ANSWERED]}, {"rank": 0, "completion": [MUMBLED]}]},
        KAGGLE | {"winner_model_b": 0, "winner_tie": 1},
        STACK_EXCHANGE | {"answers": [{"text": GOOD, "pm_score": 0}, {"text": BAD, "pm_score": 0}]},
    ],
)
def test_answers_that_are_as_good_are_a_tie(row: dict[str, Any]) -> None:
    with pytest.raises(TieError, match=r"so n(either answer|one) is preferred"):
        read(row)


def test_by_what_answers_in_a_list_are_told_apart_is_said() -> None:
    assert "the best against the worst by rank, whose lowest is best" in recognised([NECTAR]).told
    assert "the best against the worst by overall_score, whose highest is best" in recognised([ULTRAFEEDBACK]).told


def test_answers_without_a_rank_or_a_text_are_left_out() -> None:
    others = [{"answer": "Nie.", "rank": None}, {"answer": None, "rank": 9}, {"answer": "Doch.", "rank": float("nan")}]
    assert read(NECTAR | {"answers": [*others, *NECTAR["answers"]]}) == read(NECTAR)
    with pytest.raises(ValueError, match="do not say that one generation is better"):
        recognised([NECTAR]).fields.read(NECTAR | {"answers": [*others, {"answer": GOOD, "rank": 1}]})


def test_a_second_score_is_taken_where_the_first_is_missing() -> None:
    first, second = ULTRAFEEDBACK["completions"]
    row = ULTRAFEEDBACK | {"completions": [first | {"overall_score": None}, second | {"overall_score": None}]}
    assert read(row) == CHAT | {"chosen": [MUMBLED], "rejected": [ANSWERED]}


def test_a_text_that_a_question_is_about_is_not_taken_for_the_prompt() -> None:
    row = STACK_EXCHANGE | {"context": "Uhren."}
    assert read(row) == CHAT
    with pytest.raises(UnknownFormatError):
        read({name: value for name, value in row.items() if name != "question"})


def test_turns_in_lists_become_a_conversation() -> None:
    earlier = [said("user", "Hallo"), said("assistant", "Ja?")]
    row = KAGGLE | {
        "prompt": ["Hallo", Q],
        "response_a": json.dumps(["Ja?", GOOD]),
        "response_b": json.dumps(["Ja?", BAD]),
        "winner_model_a": 1,
        "winner_model_b": 0,
    }
    assert read(row) == {name: [*earlier, *turns] for name, turns in WHOLE.items()}
    for answers in (["Ja?"], ["Ja?", None], "Ja?"):
        with pytest.raises(ValueError, match="response_b has not a text for each of the 2 turns of prompt"):
            read(row | {"response_b": answers})


def test_texts_beside_columns_of_winners_stay_texts() -> None:
    row = KAGGLE | {"prompt": Q, "response_a": BAD, "response_b": GOOD}
    assert read(row) == TEXT
    assert read({name: value for name, value in row.items() if name != "winner_tie"}) == TEXT
    for winners in ({"winner_model_b": 0}, {"winner_model_a": 1}, {"winner_model_b": 0.6}):
        with pytest.raises(ValueError, match="not one of winner_model_a, winner_model_b, winner_tie is 1"):
            read(row | winners)


def test_conversations_in_a_column_of_texts_are_conversations() -> None:
    texts = {name: json.dumps(ARENA[name]) for name in ("conversation_a", "conversation_b")}
    assert read(ARENA | texts) == WHOLE
    with pytest.raises(ValueError, match="a conversation is a list that is no JSON"):
        read(ARENA | {name: str(ARENA[name]) for name in texts})
    spoken = {"conversation_a": f"Q: {Q} A: {BAD}", "conversation_b": f"Q: {Q} A: {GOOD}"}
    assert read(ARENA | spoken) == {"chosen": f"Q: {Q} A: {GOOD}", "rejected": f"Q: {Q} A: {BAD}"}
