"""Log-probabilities in chunks: the model's own, and a memory that does not grow with the vocabulary."""

from pathlib import Path

import pytest
import torch
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.losses import logps
from congrad_worker.gradients.losses.logps import token_logps
from support.architectures import random_model, save_random_model
from support.models import checkpoint
from support.properties import relative_error
from transformers import PreTrainedModel

from benchmarks.memory import peak_bytes

CPU = torch.device("cpu")


def batch_of(pairs: int, prompt: int, completion: int, vocabulary: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (pairs, prompt + 2 * completion), generator=draw).tolist()
    made = [EncodedPair(row[:prompt], row[prompt:-completion], row[-completion:], truncated=False) for row in ids]
    return TWO_ROWS.batch(made, pad_id=0)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "mixtral"])
def test_chunks_change_neither_log_probabilities_nor_their_gradients(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoint(save_random_model(tmp_path, name)).model
    batch = batch_of(pairs=2, prompt=5, completion=7, vocabulary=4000)
    logits = model(input_ids=batch.input_ids).logits.flatten(0, 1)  # capped and scaled as the model does it
    expected = logits.log_softmax(-1)[batch.targets.sources, batch.targets.ids]
    embeddings: list[torch.Tensor] = []

    def differentiate(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
        embeddings.append(output.requires_grad_())
        return output

    model.get_input_embeddings().register_forward_hook(differentiate)
    gradients = []
    for chunk in (2**22, 3 * 4096):  # all at once; three tokens at a time
        monkeypatch.setitem(logps.CHUNK_LOGITS, "cpu", chunk)
        values = token_logps(model, batch)
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)
        gradients.append(torch.autograd.grad((values * torch.arange(28.0)).sum(), embeddings[-1])[0])
    assert relative_error(gradients[0].cpu().numpy(), gradients[1].cpu().numpy()) < 1e-5


@pytest.mark.parametrize("tokens", [1, 3, 17])
def test_few_tokens_of_a_large_vocabulary_round_no_worse_than_many(tokens: int) -> None:
    """Gemma's has 262,144, and most products cancel: what is left over of whole chunks was 1e-5 off already here."""
    draw = torch.Generator().manual_seed(0)
    head = 0.05 * torch.randn(2**18, 64, generator=draw)
    hidden = 2 * torch.randn(tokens, 64, generator=draw)
    targets = torch.randint(2**18, (tokens,), generator=draw)
    exact = hidden.double().requires_grad_()
    (exact @ head.double().T).log_softmax(-1).gather(1, targets[:, None]).sum().backward()
    found = hidden.clone().requires_grad_()
    values, _ = logps._ChunkedLogps.apply(found, targets, lambda h: h @ head.T, 16, False)
    values.sum().backward()
    assert found.grad is not None
    assert exact.grad is not None
    assert relative_error(found.grad[-1:].numpy(), exact.grad[-1:].numpy()) < 2e-6  # the last is left over


@pytest.mark.parametrize("length", [18, 25], ids=["one word in a hundred", "one word in a thousand"])
def test_what_a_model_is_sure_of_has_its_gradient_too(length: int) -> None:
    """It is what all other words have together; as one minus a probability it was rounding: 1e-2 and 1e-1 off."""
    draw = torch.Generator().manual_seed(0)
    head = torch.randn(2**17, 64, generator=draw) / 8
    targets = torch.arange(8)
    hidden = length * head[targets] / head[targets].norm(dim=1, keepdim=True) ** 2
    exact = hidden.double().requires_grad_()
    expected = (exact @ head.double().T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    assert expected.min() > -0.2
    expected.sum().backward()
    found = hidden.clone().requires_grad_()
    values, _ = logps._ChunkedLogps.apply(found, targets, lambda h: h @ head.T, 8, False)
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-6)
    values.sum().backward()
    assert found.grad is not None
    assert exact.grad is not None
    errors = (found.grad - exact.grad).norm(dim=1) / exact.grad.norm(dim=1)
    assert errors.max() < 1e-5


def test_memory_does_not_grow_with_the_vocabulary_beyond_one_chunk() -> None:
    peaks = {}
    for vocabulary in (8_192, 65_536):
        model = random_model("llama", vocabulary=vocabulary)
        batch = batch_of(pairs=8, prompt=4, completion=200, vocabulary=8_000)
        peaks[vocabulary] = peak_bytes(lambda m=model, b=batch: _forward_and_backward(m, b), CPU)  # type: ignore[misc]
    chunk = 4 * logps.CHUNK_LOGITS["cpu"]
    whole = 4 * 65_536 * 8 * 2 * 200
    print({f"{v:,}": f"{peak / 2**20:.0f} MiB" for v, peak in peaks.items()}, f"one chunk {chunk / 2**20:.0f} MiB")
    assert abs(peaks[65_536] - peaks[8_192]) <= chunk
    assert peaks[65_536] < whole / 4  # what the logits alone would take


def _forward_and_backward(model: PreTrainedModel, batch: Batch) -> None:
    hook = model.get_input_embeddings().register_forward_hook(lambda _, __, output: output.requires_grad_())
    token_logps(model, batch).sum().backward()
    hook.remove()
