"""How well scores in half precision, or with a backward pass in 8 bits, agree with those in float32, of one checkpoint.

    python benchmarks/precision.py [--device cuda] [--dtype bfloat16] [--fp8] [--model DIR --data FILE.jsonl]

The yardstick is float32 on the CPU. Prints Spearman's correlation of the scores, and the share of pairs whose score is
on the same side of zero.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import typer
from congrad.contract.wire import Reason
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import locate
from congrad_worker.decisions.direction import Samples
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings
from scipy.stats import spearmanr

from benchmarks.fidelity import DEMO, conflict_scores, read_pairs


def scores(model: Path, data: Path, each: int | None, device: str, dtype: str, fp8: bool = False) -> np.ndarray:
    """Conflict scores of the pairs of a file as one request: float64 ``[n]``."""
    settings = GradientSettings.model_validate({"model": str(model), "device": device, "dtype": dtype, "fp8": fp8})
    checkpoint = load(locate(settings), settings)
    pairs, languages = read_pairs(data, Encoder(checkpoint.tokenizer, checkpoint.max_length), each)
    gradients = verified_engine(checkpoint, settings).compute(pairs)
    missing = dict.fromkeys(np.flatnonzero(gradients.out_of_memory).tolist(), Reason.OUT_OF_MEMORY)
    return conflict_scores(Samples.of(gradients.values, languages, missing))


def main(
    device: Annotated[str, typer.Option(help="Where half precision is computed.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="bfloat16 or float16.")] = "bfloat16",
    fp8: Annotated[bool, typer.Option("--fp8", help="Backward passes in 8 bits.")] = False,
    model: Annotated[Path, typer.Option(help="Folder of a checkpoint.")] = DEMO / "checkpoint",
    data: Annotated[Path, typer.Option(help="Rows with language, prompt, chosen, rejected.")] = DEMO / "pairs.jsonl",
    pairs_per_language: Annotated[int | None, typer.Option(help="Pairs of each language; default: all.")] = None,
) -> None:
    """Compares the two."""
    exact = scores(model, data, pairs_per_language, "cpu", "float32")
    found = scores(model, data, pairs_per_language, device, dtype, fp8)
    has_score = ~np.isnan(exact) & ~np.isnan(found)
    exact, found = exact[has_score], found[has_score]
    result = {
        "device": device,
        "dtype": dtype,
        "fp8": fp8,
        "pairs": len(exact),
        "spearman": round(float(spearmanr(exact, found).statistic), 4),
        "agreement": round(float(np.mean((exact > 0) == (found > 0))), 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    typer.run(main)
