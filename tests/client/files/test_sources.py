"""Files as people have them: compressed, in other encodings, with other delimiters, several at once, and elsewhere."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from backports import zstd
from congrad.files.formats import Format
from congrad.files.kinds import json_file
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Fields, read_samples, survey
from congrad.files.source import Source
from congrad.files.sources import files_of, opened
from congrad.files.target import rows_to
from congrad.files.trial import Form
from pyarrow import parquet

ROWS = [
    {"language": "de", "prompt": "Wie spät ist es?", "chosen": "Drei Uhr.", "rejected": "Nö."},
    {"language": "fr", "prompt": "Quelle heure est-il ?", "chosen": "Trois heures.", "rejected": "Bof."},
]
SAMPLES = [{"id": "line 1"} | ROWS[0], {"id": "line 2"} | ROWS[1]]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CELLS = [list(ROWS[0]), *([*row.values()] for row in ROWS)]

COMPRESSIONS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gz": (gzip.compress, gzip.decompress),
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
    "zst": (zstd.compress, zstd.decompress),
}


def copied(source: Source, target: Path, form: Format) -> None:
    with rows_to(str(target), Form(form), source, list(ROWS[0]), None) as writer:
        for row in source.rows():
            writer.write(row, {})


def written(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_compressed_files_are_read_and_written_by_their_suffix(suffix: str, tmp_path: Path) -> None:
    compress, decompress = COMPRESSIONS[suffix]
    source = written(tmp_path / f"in.jsonl.{suffix}", compress(LINES.encode()))
    assert read_samples(source) == SAMPLES
    target = tmp_path / f"out.jsonl.{suffix}"
    with Source(str(source)) as rows:
        copied(rows, target, Format.JSONL)
    assert decompress(target.read_bytes()).decode() == LINES


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_damaged_file_is_named(suffix: str, tmp_path: Path) -> None:
    whole = COMPRESSIONS[suffix][0](LINES.encode() * 1000)
    for damaged in (whole[: len(whole) // 2], b"no such file" * 10):
        with pytest.raises(FileError, match=rf"in\.jsonl\.{suffix}: cannot be read: "):
            read_samples(written(tmp_path / f"in.jsonl.{suffix}", damaged))


def test_parquet_in_gzip_is_read(tmp_path: Path) -> None:
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "in.parquet")
    source = written(tmp_path / "in.parquet.gz", gzip.compress((tmp_path / "in.parquet").read_bytes()))
    assert [sample["prompt"] for sample in read_samples(source)] == [row["prompt"] for row in ROWS]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.csv", "in.tsv"])
def test_text_with_a_mark_is_read_in_its_encoding(encoding: str, name: str, tmp_path: Path) -> None:
    delimiter = "\t" if name == "in.tsv" else ";"
    text = {
        "in.jsonl": LINES,
        "in.json": json.dumps(ROWS, ensure_ascii=False),
    }.get(name, "".join(delimiter.join(cells) + "\n" for cells in CELLS))
    source = written(tmp_path / name, text.encode(encoding))
    assert [sample | {"id": ""} for sample in read_samples(source)] == [row | {"id": ""} for row in ROWS]


def test_text_that_is_not_in_the_encoding_of_its_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is not in the encoding that its mark says"):
        read_samples(written(tmp_path / "in.jsonl", LINES.encode("utf-16")[:-1]))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimiter_is_told_by_the_header_and_kept(delimiter: str, tmp_path: Path) -> None:
    text = "".join(delimiter.join(cells) + "\n" for cells in CELLS)
    source = written(tmp_path / "in.csv", text)
    assert [sample["chosen"] for sample in read_samples(source)] == ["Drei Uhr.", "Trois heures."]
    with Source(str(source)) as rows:
        copied(rows, tmp_path / "out.csv", Format.CSV)
        copied(rows, tmp_path / "out.tsv", Format.TSV)
    assert (tmp_path / "out.csv").read_text() == text
    assert (tmp_path / "out.tsv").read_text() == text.replace(delimiter, "\t")


def test_json_lines_in_json_and_a_list_in_jsonl_are_told_apart_and_leave_as_they_came(tmp_path: Path) -> None:
    lines = written(tmp_path / "in.json", LINES)
    items = written(tmp_path / "in.jsonl", json.dumps(ROWS, ensure_ascii=False))
    assert read_samples(lines) == SAMPLES
    assert [sample["id"] for sample in read_samples(items)] == ["row 1", "row 2"]
    with Source(str(lines)) as rows:
        assert (rows.format, rows.by_suffix) == (Format.JSONL, Format.JSON)
    with Source(str(items)) as rows:
        assert (rows.format, rows.by_suffix) == (Format.JSON, Format.JSONL)


def test_a_list_is_read_in_pieces_that_cut_its_items_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row | {"n": [1.5e3, True, None, {"ü": '\\"\u2028😀'}]} for row in ROWS] * 3
    for ascii_only in (False, True):
        text = json.dumps(rows, ensure_ascii=ascii_only, indent=1)
        source = written(tmp_path / "in.json", text)
        for size in (1, 2, 3, 7, 64, 10_000):
            monkeypatch.setattr(json_file, "CHUNK", size)
            with source.open("rb") as stream:
                assert [row.content for row in json_file.read(stream, "in.json")] == rows


def test_several_files_folders_and_patterns_are_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, row in zip(("b.jsonl", "a.jsonl"), ROWS, strict=True):
        written(folder / name, json.dumps(row) + "\n")
    written(folder / "README.md", "about")
    written(folder / "dataset_info.json", "{}")
    (folder / ".cache").mkdir()
    written(folder / ".cache" / "c.jsonl", "{}\n")
    names = [str(folder / "a.jsonl"), str(folder / "b.jsonl")]
    assert files_of([str(folder)]) == files_of([str(folder / "*.jsonl")]) == names
    assert files_of([names[1], str(folder)]) == [names[1], names[0]]
    with opened(names, None, Fields().by_column) as source:
        found = survey(source, Fields())
        assert (found.rows, set(found.languages)) == (2, {"de", "fr"})
        assert [row.id for row in source.rows()] == ["a.jsonl, line 1", "b.jsonl, line 1"]
        copied(source, tmp_path / "out.jsonl", Format.JSONL)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_files_of_one_name_are_told_apart_by_their_place(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names.append(str(written(tmp_path / folder / "in.jsonl", LINES)))
    with opened(names, None, {}) as source:
        assert [row.id for row in source.rows()] == [f"file {i}, line {j}" for i in (1, 2) for j in (1, 2)]


def test_a_file_counts_once_and_a_link_to_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(written(tmp_path / name, LINES)) for name in ("a.jsonl", "b.jsonl")]
    (tmp_path / "c.jsonl").symlink_to(names[0])
    monkeypatch.chdir(tmp_path)
    assert files_of(["b.jsonl", str(tmp_path), "./a.jsonl"]) == ["b.jsonl", names[0], str(tmp_path / "c.jsonl")]


def test_files_that_are_not_alike_are_told_apart(tmp_path: Path) -> None:
    names = [str(written(tmp_path / "a.jsonl", LINES)), str(written(tmp_path / "b.csv", "language,chosen\n"))]
    with pytest.raises(FileError, match=r"b\.csv: is csv, and .*a\.jsonl is jsonl"):
        opened(names, None, {})
    with pytest.raises(FileError, match=r"holds files of several kinds \(csv, jsonl\)"):
        files_of([str(tmp_path)])
    with pytest.raises(FileError, match="holds no files of rows"):
        files_of([str(tmp_path / "*.txt")])
    (tmp_path / "saved").mkdir()
    written(tmp_path / "saved" / "data-00000-of-00001.arrow", "ARROW1")
    for path in ("saved", "saved/*.arrow", "saved/data-00000-of-00001.arrow"):
        with pytest.raises(FileError, match=r"data-00000-of-00001\.arrow: is Arrow, .* make Parquet of it"):
            opened(files_of([str(tmp_path / path)]), None, {})
    with pytest.raises(FileError, match="standard input is read alone"):
        files_of(["-", names[0]])


@pytest.fixture
def elsewhere() -> Any:
    """A file system that is none of this machine's."""
    system = fsspec.filesystem("memory")
    system.pipe({"/pairs/a.jsonl.gz": gzip.compress(LINES.encode()), "/pairs/b.jsonl": LINES.encode()})
    yield system
    system.rm("/pairs", recursive=True)


def test_files_at_an_address_are_read_and_written(elsewhere: Any) -> None:
    names = files_of(["memory://pairs"])
    assert names == files_of(["memory://pairs/*.jsonl*"]) == ["memory:///pairs/a.jsonl.gz", "memory:///pairs/b.jsonl"]
    with opened(names, None, Fields().by_column) as source:
        assert survey(source, Fields()).rows == 4
    with Source(names[1]) as rows, rows_to("memory://pairs/out.jsonl.gz", Form(Format.JSONL), rows, [], None) as writer:
        for row in rows.rows():
            writer.write(row, {})
    assert gzip.decompress(elsewhere.cat("/pairs/out.jsonl.gz")).decode() == LINES
    with pytest.raises(FileError, match=r"nowhere://x\.jsonl: cannot be reached: Protocol not known"):
        Source("nowhere://x.jsonl")
    with pytest.raises(FileError, match=r"cannot be reached: .*none\.jsonl"):
        Source("memory://pairs/none.jsonl")
