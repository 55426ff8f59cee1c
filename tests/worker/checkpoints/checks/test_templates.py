"""An adapter that was saved with another chat template than its base has: a warning, as the base's is what is used."""

import json
import logging
from pathlib import Path

import pytest
from support.models import checkpoint, save_lora
from transformers import AutoTokenizer

OTHER = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def warnings_of(model: Path, adapter: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING, "congrad_worker.checkpoints.checks.templates"):
        checkpoint(model, adapter=str(adapter))
    return [record.message for record in caplog.records if "chat template" in record.message]


@pytest.mark.parametrize("older", [False, True])
def test_another_template_beside_an_adapter_is_told(
    older: bool, small_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = save_lora(small_llama, tmp_path / "adapter")
    if older:  # transformers before 5 has it in the tokenizer's configuration
        (adapter / "tokenizer_config.json").write_text(json.dumps({"chat_template": OTHER}), encoding="utf-8")
    else:
        tokenizer = AutoTokenizer.from_pretrained(small_llama)
        tokenizer.chat_template = OTHER
        tokenizer.save_pretrained(adapter)
    (said,) = warnings_of(small_llama, adapter, caplog)
    assert said.startswith(f"CONGRAD_ADAPTER={adapter}: its chat template is not used")


@pytest.mark.parametrize("is_saved", [False, True])
def test_the_same_template_or_none_is_no_word(
    is_saved: bool, small_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = save_lora(small_llama, tmp_path / "adapter")
    if is_saved:
        AutoTokenizer.from_pretrained(small_llama).save_pretrained(adapter)
    assert warnings_of(small_llama, adapter, caplog) == []
