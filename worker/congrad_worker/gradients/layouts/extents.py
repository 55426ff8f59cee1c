"""Which tokens are which pair's."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Extents:
    """Where in flattened rows the tokens of each pair are. Between pairs there may be padding."""

    shape: tuple[int, int]  # rows and their tokens
    starts: tuple[int, ...]  # of each pair
    sizes: tuple[int, ...]  # tokens of each pair, from there on

    @property
    def pairs(self) -> int:
        """How many pairs the rows hold."""
        return len(self.starts)

    def padded_index(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Where the tokens of each pair are, its last one again where it is shorter than the longest: int64
        ``[pairs, longest]``; and which of them are its own, bool."""
        if device not in self._indices:
            sizes = torch.tensor(self.sizes)[:, None]
            columns = torch.arange(int(sizes.max()))
            index = torch.tensor(self.starts)[:, None] + columns.minimum(sizes - 1)
            self._indices[device] = moved(index, device), moved(columns < sizes, device)
        return self._indices[device]

    @cached_property
    def _indices(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; the copy does not wait for what the device is doing."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
