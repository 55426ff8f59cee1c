"""The examples of the README and the docs are run, page by page and in their order, against a live service."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import congrad
import pytest
import yaml  # type: ignore[import-untyped] # no stubs here
from congrad import formats
from congrad.local.stack import Stack
from datasets import Dataset
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support.pairs import demo_samples

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    "README.md",
    *sorted(str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if page.parent.name != "benchmarks"),
]

SFT = "docs/recipes/sft.md"
KTO = "docs/recipes/kto.md"
"""The pages whose services have other losses."""

RUN = ("congrad", "python")
NOT_RUN = (
    "pip install ",
    "make ",
    "curl localhost:8000/",
    "export CONGRAD_BASE_URL=",
    "export CONGRAD_LOSS=",
    "congrad up ",
    "congrad publish ",
    "deepspeed --module openrlhf.",
    "axolotl train ",
    "swift rlhf ",
    "llamafactory-cli train ",
    "python -m examples.self_rewarding ",
)
"""What needs a network, another library or a GPU; the service that runs already; its address and its loss, which are
set; and what other tests run."""


def fences(page: str) -> list[Token]:
    """The code blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [token for token in MarkdownIt().parse(text) if token.type == "fence"]


def commands(block: str) -> Iterator[tuple[int, str]]:
    """The commands of a console block, each with the line of the block that it begins in."""
    first, command = 0, ""
    for number, line in enumerate(block.splitlines()):
        command += line
        if command.endswith("\\") or _is_open(command):
            command = command.removesuffix("\\") + " "
        else:
            yield first, command
            first, command = number + 1, ""


def _is_open(command: str) -> bool:
    """Whether a quotation goes on in the next line."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


def command_as_python(command: str, where: str) -> str:
    """A statement that runs a command; nothing for one that is known not to be run."""
    words = shlex.split(command, comments=True)
    if not words or command.startswith(NOT_RUN):
        return ""
    if words[0] not in RUN:
        pytest.fail(f"{where}: {command!r} is neither run nor listed as not run")
    return f"__import__('subprocess').run({words!r}, check=True)"


def script(page: str) -> str:
    """A page as one Python script, each example in its own line of the page, so that tracebacks name that line."""
    lines = [""] * ((ROOT / page).read_text(encoding="utf-8").count("\n") + 1)
    for fence in fences(page):
        assert fence.map is not None
        first = fence.map[0] + 1
        if fence.info == "python":
            code = fence.content.splitlines()
            lines[first : first + len(code)] = code
        elif fence.info == "console":
            for number, command in commands(fence.content):
                lines[first + number] = command_as_python(command, f"{page}, line {first + number + 1}")
    return "\n".join(lines)


def conversation(row: dict[str, Any], reply: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[reply]}]


def write_inputs(folder: Path) -> dict[str, set[str]]:
    """The files that pages read, and the examples; the lines of each file."""
    pairs = demo_samples(each=3)
    conversations = [
        {"language": row["language"], **{side: conversation(row, side) for side in ("chosen", "rejected")}}
        for row in pairs
    ]
    messages = [
        row | {"messages": row["chosen"][:1], **{side: row[side][1] for side in ("chosen", "rejected")}}
        for row in conversations
    ]
    completions = [
        {name: row[name] for name in ("language", "prompt")} | {"completion": row["chosen"]} for row in pairs
    ]
    chats = [{"language": row["language"], "messages": row["chosen"]} for row in conversations]
    files = {"pairs": pairs, "conversations": conversations, "messages": messages}
    labelled = [row | {"label": number % 3 > 0} for number, row in enumerate(completions)]
    files |= {"completions": completions, "chats": chats, "labelled": labelled, **_of_other_tools(pairs)}
    lines = {}
    for name, rows in files.items():
        lines[name] = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines[name]), encoding="utf-8")
    Dataset.from_list(pairs).to_parquet(folder / "pairs.parquet")
    (folder / "examples").symlink_to(ROOT / "examples")
    return {name: set(own) for name, own in lines.items()}


def _of_other_tools(pairs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    swift = [
        {"language": row["language"], "messages": conversation(row, "chosen"), "rejected_response": row["rejected"]}
        for row in pairs
    ]
    sharegpt = [
        {
            "language": row["language"],
            "conversations": [{"from": "human", "value": row["prompt"]}],
            **{side: {"from": "gpt", "value": row[side]} for side in ("chosen", "rejected")},
        }
        for row in pairs
    ]
    return {"swift": swift, "sharegpt": sharegpt}


TRAINING = "docs/recipes/trl.md"
"""Its examples train, one in several processes; `e2e/test_online.py` and `e2e/test_examples.py` train as well."""


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page == TRAINING else [])
        for page in PAGES
        if page not in (SFT, KTO) and script(page).strip()
    ],
)
def test_the_examples_of_a_page_run(page: str, stack: Stack, tmp_path: Path) -> None:
    run(page, stack, tmp_path)


@pytest.mark.slow  # it trains; test_sft.py filters completions in all the ways it names
def test_the_examples_of_the_page_about_completions_run(sft_stack: Stack, tmp_path: Path) -> None:
    run(SFT, sft_stack, tmp_path)


def test_the_examples_of_the_page_about_labels_run(kto_stack: Stack, tmp_path: Path) -> None:
    run(KTO, kto_stack, tmp_path)


def run(page: str, stack: Stack, folder: Path) -> None:
    """All of a page, in a folder with what it reads. What it keeps of a file are lines of that file, and not all."""
    inputs = write_inputs(folder)
    source = folder / Path(page).name
    source.write_text(script(page), encoding="utf-8")
    environment = os.environ | {
        "CONGRAD_BASE_URL": stack.url,
        "HF_HOME": str(folder / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, source.name], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    if (kept := folder / "kept.jsonl").exists():
        lines = set(kept.read_text(encoding="utf-8").splitlines())
        assert any(lines < own for own in inputs.values())
        assert lines


def test_all_recipes_and_the_quick_start_have_examples() -> None:
    with_examples = {page for page in PAGES if any(fence.info == "python" for fence in fences(page))}
    recipes = {f"docs/recipes/{name}.md" for name in ("trl", "sft", "kto", "openrlhf", "axolotl")}
    assert with_examples == {"README.md", "docs/quickstart.md", "docs/files.md", *recipes}


def test_data_in_the_docs_can_be_read() -> None:
    for page in PAGES:
        for fence in fences(page):
            assert fence.info in ("python", "console", "json", "yaml", "text"), f"{page}: {fence.info}"
            if fence.info in ("json", "yaml"):
                assert {"json": json.loads, "yaml": yaml.safe_load}[fence.info](fence.content)


def test_an_unknown_command_is_a_failure() -> None:
    with pytest.raises(pytest.fail.Exception, match="line 3: 'rm -r kept' is neither run nor listed"):
        command_as_python("rm -r kept", "line 3")


def test_the_reference_has_the_public_names_and_no_others() -> None:
    documented = {"AsyncJobs", "AsyncDirections", "AsyncCheckpoints", "AsyncWorkers"}  # in a sentence
    for path in re.findall(r"^::: (\S+)$", (DOCS / "sdk.md").read_text(encoding="utf-8"), re.MULTILINE):
        module, _, name = path.rpartition(".")
        if path == "congrad.errors":
            documented |= {name for name, value in vars(congrad.errors).items() if _is_own_error(value)}
        elif not module.startswith("congrad.integrations"):
            assert hasattr(import_module(module), name), path
            documented.add(name)
    of_formats = set(formats.__all__)
    assert set(congrad.__all__) - {"errors", "formats"} == documented - of_formats
    assert documented & of_formats >= {"Fields", "Recognised", "RowFormat", "recognised"}


def _is_own_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, congrad.CongradError)
