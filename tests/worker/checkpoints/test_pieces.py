"""Checkpoints whose tokenizer is a SentencePiece model, without a tokenizer.json, against that library's own ids."""

import io
import json
import shutil
from pathlib import Path
from typing import cast

import pytest
from congrad.contract import wire
from congrad_worker.checkpoints.encoding import Encoder
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from support.models import DEMO_CHECKPOINT, checkpoint
from support.pairs import demo_samples


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sentencepiece_model_alone_is_a_tokenizer(kind: str, tmp_path: Path) -> None:
    texts = [sample["chosen"] for sample in demo_samples("de", "fr", "ja", each=20)]
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written,
        vocab_size=400,
        model_type=kind,
        character_coverage=1.0,  # what is in no piece is one token to transformers, however long
        minloglevel=2,
    )
    model = Path(shutil.copytree(DEMO_CHECKPOINT, tmp_path / "model"))
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.model").write_bytes(written.getvalue())
    name = "LlamaTokenizer" if kind == "bpe" else "T5Tokenizer"
    (model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, "eos_token": "</s>"}))

    tokenizer = checkpoint(model).tokenizer
    pieces = SentencePieceProcessor(model_proto=written.getvalue())
    for text in texts:
        prompt, chosen, rejected = text[: len(text) // 2], text[len(text) // 2 :], " nein"
        row = {"language": "de", "prompt": prompt, "chosen": chosen, "rejected": rejected}
        pair = Encoder(tokenizer, 4096).encode(wire.Sample.model_validate(row))
        ids = pair.prompt_ids + pair.chosen_ids
        own = cast("list[int]", pieces.encode(text))
        assert [one for one in ids if one not in (pieces.bos_id(), pieces.eos_id())] == own, text
