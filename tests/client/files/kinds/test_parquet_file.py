"""Parquet, read as a stream."""

import io

import pyarrow
from congrad.files.kinds.parquet_file import read
from pyarrow import parquet

GROUPS, ROWS = 20, 2_000


class Counted(io.BytesIO):
    """Bytes, and how many of them have been read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


def test_groups_of_rows_are_read_when_it_is_their_turn() -> None:
    stream = Counted()
    schema = pyarrow.schema([("prompt", pyarrow.string())])
    with parquet.ParquetWriter(stream, schema) as writer:
        for group in range(GROUPS):
            texts = [f"{number * 2_654_435_761 % 2**32:x}" * 8 for number in range(group * ROWS, (group + 1) * ROWS)]
            writer.write_table(pyarrow.table({"prompt": texts}))
    size = len(stream.getvalue())
    rows = read(stream, "pairs.parquet")
    first = next(rows)
    assert stream.taken < size / 2, "a file of any length takes no more memory"
    assert [first.content["prompt"], *(row.content["prompt"] for row in rows)][-1].startswith(texts[-1])
