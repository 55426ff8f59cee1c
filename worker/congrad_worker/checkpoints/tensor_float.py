"""TF32: products of float32 on a GPU's matrix units, which round their factors to 11 bits and are several times as
fast."""

import logging

import torch

log = logging.getLogger(__name__)


def allow(name: str) -> None:
    """From now on, in this process, for a checkpoint of this name; float32 that was asked for stays what it is."""
    torch.set_float32_matmul_precision("high")
    log.info("%s is float32, and its products are TF32; CONGRAD_DTYPE=float32 keeps all bits", name)


def is_allowed(device: torch.device) -> bool:
    """Whether products on a device are TF32."""
    return device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
