"""Gradients of a model that is divided between the CPU and a fake device, and of the same model whole.

    python -m support.divided_model MODEL ADAPTER

Prints a JSON object: by variant the largest difference, the largest number, and whether prompts were shared. A process
of its own, because of the fake device.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.hooks import attach_align_device_hook_on_blocks
from congrad_worker.checkpoints.checkpoint import Checkpoint, load
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import locate
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings

from support import fake_device
from support.models import settings
from support.pairs import demo_samples, samples

FIRST = ("embed_tokens", "rotary_emb", "layers.0")
SECOND = ("layers.1", "norm")


def divided(checkpoint: Checkpoint, second: torch.device) -> Checkpoint:
    """The checkpoint with its second layer and its head on another device, by the hooks that transformers has put there
    for a ``device_map``."""
    for model in filter(None, (checkpoint.model, checkpoint.reference_model)):
        prefix = "base_model.model." if hasattr(model, "peft_config") else ""
        places: dict[str, Any] = {f"{prefix}model.{name}": "cpu" for name in FIRST}
        places |= {f"{prefix}model.{name}": second for name in SECOND} | {f"{prefix}lm_head": second}
        attach_align_device_hook_on_blocks(model, execution_device=places, offload=False)
    assert {parameter.device.type for parameter in checkpoint.model.parameters()} == {"cpu", second.type}
    return checkpoint


def gradients(wanted: GradientSettings, second: torch.device | None) -> tuple[np.ndarray, bool]:
    """Of some real pairs; and whether prompts were shared."""
    checkpoint = load(locate(wanted), wanted)
    engine = verified_engine(checkpoint if second is None else divided(checkpoint, second), wanted)
    encoder = Encoder(checkpoint.tokenizer, checkpoint.max_length)
    rows = samples(demo_samples("de", "fr", "ja", each=3))
    return engine.compute([encoder.encode(row) for row in rows]).values, engine.layouts != (TWO_ROWS,)


def main(model: Path, adapter: Path) -> None:
    """Compares all variants."""
    second = fake_device.register()
    small: dict[str, Any] = {"projection_rank": 16, "projection_dim": 256, "max_length": 256}
    variants: dict[str, dict[str, Any]] = {
        "plain": {},
        "checkpointing": {"gradient_checkpointing": True},
        "flora": {"projection": "flora"},
        "reference": {"loss": "ipo", "reference": str(model)},
        "adapter": {"adapter": str(adapter), "loss": "ipo", "reference": "base"},
    }
    found = {}
    for name, options in variants.items():
        wanted = settings(model, **small, **options)
        (whole, _), (parts, is_shared) = gradients(wanted, None), gradients(wanted, second)
        found[name] = [float(np.abs(whole - parts).max()), float(np.abs(whole).max()), is_shared]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
