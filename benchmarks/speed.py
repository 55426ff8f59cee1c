"""What a device could do: its measured rate of matrix products, and the FLOPs that a model has to spend."""

import time
from statistics import median

import torch

FLOPS_PER_WEIGHT = {
    "forward": 2,
    "plain": 6,
    "plain_reference": 8,
    "one_by_one": 6,
    "bergson": 4,
    "two_rows": 4,
    "shared_prefix": 4,
    "packed": 4,
}
"""FLOPs per useful token and weight of the blocks' linear layers: 2 for a forward, 2 for the gradient of activations,
2 for that of weights. Attention scores, the head, projections and padding are not counted as useful."""


def matrix_rate(device: torch.device, size: int = 8192, repeats: int = 20) -> float | None:
    """FLOP/s of bfloat16 matrix products on a GPU, the median of some; None on a CPU."""
    if device.type != "cuda":
        return None
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(repeats + 3):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        torch.matmul(a, b)
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / median(seconds[3:])
