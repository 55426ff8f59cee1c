"""bergson's gradient collector under the DPO loss. Runs in bergson's own environment; the other end is `peer.client`.

Commands are lines of JSON on the standard input, and each is answered by one line of JSON. Everything is bergson's
own where it has it: its padding, its label loss, its collector on `model.base_model`, frozen weights but for the input
embeddings (what its backward pass starts from), a synchronize a batch. It has no loss of pairs, so the DPO loss is put
on its per-row losses; its per-row gradients of that loss, chosen and rejected added, are the pair's.
"""

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

# bergson prints, from its import on; the standard output is for answers alone.
ANSWERS = os.fdopen(os.dup(sys.stdout.fileno()), "w")
os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

import numpy as np
import torch

# Only bergson's environment has these.
from bergson import GradientCollector, GradientProcessor  # type: ignore[import-not-found]
from bergson.collector.collector import token_losses  # type: ignore[import-not-found]
from bergson.config.config import IndexConfig, TrackstarIndexConfig  # type: ignore[import-not-found]
from bergson.data import pad_and_tensor  # type: ignore[import-not-found]
from datasets import Dataset
from transformers import AutoModelForCausalLM

from benchmarks import rows
from benchmarks.memory import live_bytes, peak_bytes

PROJECTION_DIM = TrackstarIndexConfig.projection_dim
"""16: what bergson compresses each side of a module to where it compresses by default."""


@dataclass(frozen=True)
class Pair:
    """Token ids of a pair."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class Session:
    """One loaded model and the batches to run it on."""

    def __init__(self, folder: str, targets: Sequence[str], device: str, beta: float):
        self._device = torch.device(device)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        model.to(self._device).eval()
        # As bergson's own set-up does.
        model.requires_grad_(False)
        model.get_input_embeddings().requires_grad_(True)
        self._model = model
        self._beta = beta
        self._targets = [name.removeprefix(model.base_model_prefix + ".") for name in targets]
        self._batches: list[list[Pair]] = []
        before = live_bytes()
        self._collector = self._make_collector(PROJECTION_DIM, 2)
        self._gradients(self._collector, [Pair([0, 1], [2, 3], [3, 4])])  # projections are made on first use
        self.state_bytes = live_bytes() - before

    def use(self, batches: Sequence[Sequence[Sequence[list[int]]]]) -> None:
        """Takes the batches of the next passes."""
        self._batches = [[Pair(*pair) for pair in batch] for batch in batches]
        self._collector.per_doc_losses = torch.zeros(2 * max(map(len, self._batches)), device=self._device)

    def run(self) -> None:
        """One pass over the batches: the compressed gradients of each pair."""
        for batch in self._batches:
            self._gradients(self._collector, batch)

    def seconds(self) -> float:
        """One pass, timed."""
        gc.collect()
        self._wait()
        start = time.perf_counter()
        self.run()
        self._wait()
        return time.perf_counter() - start

    def peak(self) -> int:
        """One pass, with the most memory that it takes."""
        return peak_bytes(self.run, self._device)

    def whole(self, pairs: Sequence[Sequence[list[int]]]) -> np.ndarray:
        """Gradients of pairs with bergson's projection off: float32 ``[pairs, parameters]``."""
        collector = self._make_collector(0, 2 * len(pairs))
        gradients: np.ndarray = self._gradients(collector, [Pair(*pair) for pair in pairs]).float().cpu().numpy()
        return gradients

    def _make_collector(self, projection_dim: int, documents: int) -> Any:
        return GradientCollector(
            model=self._model.base_model,
            cfg=IndexConfig(run_path=tempfile.gettempdir(), projection_dim=projection_dim),
            processor=GradientProcessor(projection_dim=projection_dim or None),
            target_modules=set(self._targets),
            data=Dataset.from_dict({"input_ids": [[0]] * documents}),
            skip_index=True,
        )

    def _gradients(self, collector: Any, batch: Sequence[Pair]) -> torch.Tensor:
        """``[pairs, D]``, the modules in the order of the targets."""
        ids, labels = rows.sequences(batch)
        inputs, targets, _, mask = pad_and_tensor(ids, labels=labels, device=self._device, sync_max_len=False)
        with collector.with_batch(mask):
            logits = self._model(inputs).logits[:, :-1]
            logps = -token_losses("ce", logits, targets[:, 1:]).sum(1)
            margins = logps.view(-1, 2)[:, 0] - logps.view(-1, 2)[:, 1]
            torch.autograd.backward(rows.loss(margins, margins.detach(), self._beta))
            self._model.zero_grad()
            self._wait()
        by_row = torch.cat([collector.mod_grads[name] for name in self._targets], 1)
        collector.process_batch(list(range(len(ids))), losses=-logps)
        return by_row.view(len(batch), 2, -1).sum(1)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def answers(commands: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The answer to each command; the first has to be `load`."""
    load = json.loads(next(commands))
    torch.set_num_threads(load["threads"])
    session = Session(load["folder"], load["targets"], load["device"], load["beta"])
    yield {
        "version": version("bergson"),
        "torch": torch.__version__,
        "projection_dim": PROJECTION_DIM,
        "state_bytes": session.state_bytes,
    }
    for line in commands:
        command = json.loads(line)
        match command["do"]:
            case "use":
                session.use(command["batches"])
                yield {}
            case "seconds":
                yield {"seconds": session.seconds()}
            case "peak":
                yield {"peak_bytes": session.peak()}
            case "whole":
                np.save(command["file"], session.whole(command["pairs"]))
                yield {}


def main() -> None:
    """Answers until the other end closes the standard input."""
    for answer in answers(iter(sys.stdin.readline, "")):
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
