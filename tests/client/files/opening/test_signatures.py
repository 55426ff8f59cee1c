"""Files that are not what their names say, or that have none."""

import bz2
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from congrad.files.kinds.rows import FileError
from congrad.files.opening.compression import ZSTD
from congrad.files.source import Source

ROW = {"language": "de", "prompt": "Wie spät ist es?", "chosen": "Kurz nach drei.", "rejected": "Geh weg."}
LINE = json.dumps(ROW).encode() + b"\n"


def arrow(make: Callable[..., Any]) -> bytes:
    table = pyarrow.Table.from_pylist([ROW])
    stream = io.BytesIO()
    with make(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, import_module(ZSTD).compress])
@pytest.mark.parametrize("path", ["in.jsonl", "-"])
def test_what_is_compressed_is_read_whatever_its_name_says(
    compress: Callable[[bytes], bytes], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_bytes(compress(LINE))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(compress(LINE))))
    with Source(path) as source:
        assert [row.content for row in source.rows()] == [ROW]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (arrow(pyarrow.parquet.ParquetWriter), "is Parquet, and its name does not say so.*--input-format parquet"),
        (arrow(pyarrow.ipc.new_file), "is Arrow, which is not read"),
        (arrow(pyarrow.ipc.new_stream), "is Arrow, which is not read"),
        (b"PK\x03\x04\x14\x00", "is a zip archive or a spreadsheet"),
    ],
    ids=["parquet", "arrow", "arrow-stream", "zip"],
)
@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.csv", "in.tsv"])
def test_what_holds_no_text_is_not_said_to_be_in_another_encoding(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=rf"{name}: {told}"):
        Source(str(tmp_path / name))


def test_a_text_that_begins_as_bzip2_does_is_text(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("BZh9,language\nx,de\n", encoding="utf-8")
    with Source(str(tmp_path / "in.csv")) as source:
        assert [row.content for row in source.rows()] == [{"BZh9": "x", "language": "de"}]
