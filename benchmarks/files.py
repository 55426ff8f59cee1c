"""How fast `congrad filter --dry-run` reads files of each kind, and its peak memory.

    python -m benchmarks.files --rows 1000000

writes a file of so many rows after another into a temporary folder, and prints a table.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

KINDS = ("jsonl", "jsonl.gz", "csv", "parquet", "json")
LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "ja", "sw", "tr", "zh")
COLUMNS = ("language", "prompt", "chosen", "rejected")
GROUP = 10_000
"""Rows that are written to Parquet at a time."""


def rows(count: int) -> Iterator[dict[str, str]]:
    """Pairs of some three hundred characters, no two of them the same."""
    for number in range(count):
        yield {
            "language": LANGUAGES[number % len(LANGUAGES)],
            "prompt": f"Question {number}: which of the two, and why? " * 2,
            "chosen": f"The first, as {number} is more than {number - 1}; " * 3,
            "rejected": f'The second, "{number}", for no reason. ' * 2,
        }


def write(path: Path, count: int) -> None:
    """A file of the kind that its suffix says."""
    match "".join(path.suffixes).removeprefix("."):
        case "jsonl":
            with path.open("w") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows(count))
        case "jsonl.gz":
            with gzip.open(path, "wt", compresslevel=1) as file:
                file.writelines(json.dumps(row) + "\n" for row in rows(count))
        case "json":
            with path.open("w") as file:
                items = enumerate(map(json.dumps, rows(count)))
                file.write("[\n")
                file.writelines(("," if number else "") + item + "\n" for number, item in items)
                file.write("]\n")
        case "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows(count))
        case "parquet":
            _write_parquet(path, count)


def _write_parquet(path: Path, count: int) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    left = rows(count)
    with parquet.ParquetWriter(path, schema) as writer:
        while group := [row for _, row in zip(range(GROUP), left, strict=False)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def measure(path: Path) -> tuple[float, float]:
    """Seconds, and MiB at the peak, of a process of its own."""
    command = [
        sys.executable,
        "-m",
        "congrad",
        "filter",
        str(path),
        "-o",
        str(path.with_name("kept.jsonl")),
        "--dry-run",
    ]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write is not None:
        write(args.write, args.rows)
        return
    print("| file | rows a second | peak, MiB |\n|---|---|---|")
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"pairs.{kind}"
            # In another process: what this one has taken up by then would count as the peak of the next.
            own = [sys.executable, "-m", "benchmarks.files", "--write", str(path), "--rows", str(args.rows)]
            subprocess.run(own, check=True)
            seconds, peak = measure(path)
        print(f"| .{kind} | {args.rows / seconds:,.0f} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
