"""The notebook, run in a real kernel against a live service."""

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from congrad import Client
from congrad.local.stack import Stack
from nbclient import NotebookClient
from safetensors.torch import load_file

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"

pytestmark = pytest.mark.filterwarnings(
    "ignore:Proactor event loop:RuntimeWarning",  # nbclient's, on other systems
    "ignore:.*:DeprecationWarning:jupyter_client",
)


def outputs(notebook: nbformat.NotebookNode) -> str:
    """All that the cells show, as text or as HTML."""
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = [output.get("text", "") for output in shown]
    pages = [output.get("data", {}).get("text/html", "") for output in shown]
    return "\n".join([*texts, *pages])


def _notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_it_is_kept_without_outputs() -> None:
    cells = [cell for cell in _notebook().cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow  # its steps one by one: tests/test_docs.py
def test_it_leads_from_a_file_to_a_picture_of_conflicts_and_a_trained_adapter(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has an event loop of its own, in which the synchronous client is used."""
    monkeypatch.setenv("CONGRAD_BASE_URL", stack.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    notebook = _notebook()
    where = {"metadata": {"path": str(tmp_path)}}
    # How long a cell may take is the suite's to say.
    NotebookClient(notebook, timeout=None, startup_timeout=240, resources=where).execute()
    shown = outputs(notebook)
    with Client(stack.url) as client:
        direction = client.directions.get("quickstart")
    assert sum(language.samples for language in direction.languages.values()) == 144
    trained = re.search(r"trained on (\d+) of 144 pairs: loss (0\.\d+)", shown)
    assert trained is not None, shown
    kept = re.search(r"<b>Kept (\d+) of 144 pairs</b>", shown)
    assert kept is not None
    assert kept[1] == trained[1]
    assert "<caption>% of dropped pairs</caption>" in shown
    assert "<svg" in shown
    weights = load_file(tmp_path / "quickstart-adapter" / "adapter_model.safetensors")
    assert any(bool(weight.any()) for name, weight in weights.items() if "lora_B" in name)
