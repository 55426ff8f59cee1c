"""What a run has measured, as JSON, as Markdown, and as a table in the terminal."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

from benchmarks.arms import PLAIN
from benchmarks.errors import Errors

COLUMNS = ("", "ratio", "min – max", "tokens/s", "peak MiB", "kept MiB", "error")
FLOPS_COLUMN = "FLOPs / rate"


@dataclass(frozen=True)
class ArmResult:
    """One arm on one set of pairs."""

    key: str
    label: str
    seconds: list[float]
    peak_bytes: int
    state_bytes: int
    model_flops: float


@dataclass(frozen=True)
class Measurement:
    """All arms on one set of pairs; the rounds of the arms belong together."""

    pairs: dict[str, float]
    arms: list[ArmResult]

    def ratios(self, arm: ArmResult) -> list[float]:
        """Seconds over those of the plain step in the same round."""
        plain = next(other for other in self.arms if other.key == PLAIN)
        return [mine / theirs for mine, theirs in zip(arm.seconds, plain.seconds, strict=True)]

    def summary(self, arm: ArmResult, matrix_rate: float | None) -> dict[str, Any]:
        """The figures of one arm."""
        ratios, seconds = self.ratios(arm), median(arm.seconds)
        summary = {
            "arm": arm.key,
            "label": arm.label,
            "ratio": round(median(ratios), 4),
            "ratio_min": round(min(ratios), 4),
            "ratio_max": round(max(ratios), 4),
            "tokens_per_second": round(self.pairs["two_row_tokens"] / seconds, 1),
            "seconds": [round(s, 4) for s in arm.seconds],
            "peak_mib": round(arm.peak_bytes / 2**20, 1),
            "kept_mib": round(arm.state_bytes / 2**20, 1),
        }
        if matrix_rate is not None:
            summary["model_flops_over_matrix_rate"] = round(arm.model_flops / seconds / matrix_rate, 4)
        return summary


@dataclass(frozen=True)
class Report:
    """One run."""

    machine: dict[str, Any]
    run: dict[str, Any]
    errors: Errors
    matrix_rate: float | None
    measurements: list[Measurement]
    notes: list[str]

    def to_json(self) -> str:
        """Everything."""
        measured = [
            {"pairs": m.pairs, "arms": [m.summary(arm, self.matrix_rate) for arm in m.arms]} for m in self.measurements
        ]
        whole = {
            "machine": self.machine,
            "run": self.run,
            "matrix_tflops": None if self.matrix_rate is None else round(self.matrix_rate / 1e12, 1),
            "errors": self.errors,
            "measurements": measured,
            "notes": self.notes,
        }
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """Tables and what their columns mean."""
        lines = [f"# Gradients of preference pairs: {self.run['shape']} on {self.run['device']}", ""]
        lines += [f"- {key}: {value}" for key, value in {**self.machine, **self.run}.items() if value]
        if self.matrix_rate is not None:
            lines.append(f"- matrix rate: {self.matrix_rate / 1e12:.0f} TFLOP/s in bfloat16 products of 8192 × 8192")
        columns = self._columns()
        for m in self.measurements:
            lines += ["", f"## {self._title(m)}", ""]
            lines += [_row(columns), _row(["---", *["---:"] * (len(columns) - 1)])]
            lines += [_row(self._cells(m, arm)) for arm in m.arms]
        return "\n".join([*lines, "", "## Reading it", "", *(f"- {note}" for note in self.notes)]) + "\n"

    def show(self, console: Console) -> None:
        """Prints a table a set of pairs."""
        for m in self.measurements:
            table = Table(title=self._title(m))
            for i, column in enumerate(self._columns()):
                table.add_column(column, justify="right" if i else "left", no_wrap=i > 0)
            for arm in m.arms:
                table.add_row(*self._cells(m, arm))
            console.print(table)

    def write(self, folder: Path) -> list[Path]:
        """Writes both files, named by shape and device."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"engine-{self.run['shape']}-{self.run['device']}"
        paths = [stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".md")]
        for path, text in zip(paths, (self.to_json(), self.to_markdown()), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths

    def _title(self, m: Measurement) -> str:
        return (
            f"{m.pairs['prompt_share']:.0%} of the two-row tokens are prompt: {m.pairs['pairs']} pairs, rows of "
            f"{m.pairs['row_tokens_min']} to {m.pairs['row_tokens_max']} tokens, "
            f"{1 - m.pairs['two_row_tokens'] / m.pairs['padded_two_row_tokens']:.0%} of two-row batches is padding"
        )

    def _columns(self) -> list[str]:
        return [*COLUMNS, *([FLOPS_COLUMN] if self.matrix_rate is not None else [])]

    def _cells(self, m: Measurement, arm: ArmResult) -> list[str]:
        figures = m.summary(arm, self.matrix_rate)
        cells = [
            arm.label,
            f"{figures['ratio']:.3f}",
            f"{figures['ratio_min']:.3f} – {figures['ratio_max']:.3f}",
            f"{figures['tokens_per_second']:,.0f}",
            f"{figures['peak_mib']:,.0f}",
            f"{figures['kept_mib']:,.0f}",
            _worst(self.errors.get(arm.key, {})),
        ]
        if self.matrix_rate is not None:
            cells.append(f"{figures['model_flops_over_matrix_rate']:.2f}")
        return cells


def describe_machine(threads: int, device: torch.device) -> dict[str, Any]:
    """What a figure depends on; no names of hosts or folders."""
    return {
        "processor": _processor(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _worst(errors: Mapping[str, float]) -> str:
    return f"{max(errors.values()):.1e}" if errors else "–"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
