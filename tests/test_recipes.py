"""Configuration files in the recipes, against what their tools take.

ms-swift 4.6 and LLaMA-Factory 0.9.5 need older releases of PEFT, TRL, datasets and transformers than this project, and
so cannot be installed beside it. What stands here of their options is from the source of these releases: the fields
of the data classes that each parses a file into, with their types or choices. What both inherit from transformers is
asked of transformers.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # no stubs here
from markdown_it import MarkdownIt
from transformers import Seq2SeqTrainingArguments

RECIPES = Path(__file__).parents[1] / "docs" / "recipes"

Options = dict[str, type | tuple[str, ...]]

LLAMA_FACTORY: Options = {
    "model_name_or_path": str,
    "stage": ("pt", "sft", "rm", "ppo", "dpo", "kto"),
    "finetuning_type": ("lora", "oft", "freeze", "full"),
    "lora_rank": int,
    "lora_target": str,
    "pref_loss": ("sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo"),
    "pref_beta": float,
    "dataset_dir": str,
    "dataset": str,
    "template": str,
    "cutoff_len": int,
}
"""`llamafactory.hparams`: ModelArguments, DataArguments, FinetuningArguments."""

MS_SWIFT: Options = {
    "rlhf_type": ("dpo", "orpo", "simpo", "kto", "cpo", "rm", "ppo", "grpo", "gkd"),
    "model": str,
    "dataset": list,
    "split_dataset_ratio": float,
    "max_length": int,
    "tuner_type": str,
    "lora_rank": int,
    "lora_alpha": float,
    "target_modules": list,
    "loss_type": list,
    "beta": float,
    "torch_dtype": ("bfloat16", "float16", "float32"),
}
"""`swift.arguments`: RLHFArguments and what it inherits."""

DATASET_INFO = {"file_name", "formatting", "ranking", "columns", "tags", "subset", "split", "folder", "num_samples"}
DATASET_COLUMNS = {"prompt", "query", "response", "history", "messages", "system", "tools", "chosen", "rejected"}
"""`llamafactory.data.parser.DatasetAttr.join`, of text."""

TRAINING = {field.name: field for field in dataclasses.fields(Seq2SeqTrainingArguments)}


def blocks(page: str, kind: str) -> list[Any]:
    """The examples of a page that are YAML or JSON, read."""
    read = {"yaml": yaml.safe_load, "json": json.loads}[kind]
    tokens = MarkdownIt().parse((RECIPES / page).read_text(encoding="utf-8"))
    return [read(token.content) for token in tokens if token.type == "fence" and token.info == kind]


def fits(value: object, wanted: type | tuple[str, ...]) -> bool:
    """Whether a parser takes a value: a whole number is a float too."""
    if isinstance(wanted, tuple):
        return value in wanted
    return isinstance(value, (int, float) if wanted is float else wanted) and not isinstance(value, bool)


@pytest.mark.parametrize(("page", "options"), [("llama_factory.md", LLAMA_FACTORY), ("ms_swift.md", MS_SWIFT)])
def test_a_configuration_has_options_that_its_tool_knows_with_values_that_it_takes(page: str, options: Options) -> None:
    (configuration,) = blocks(page, "yaml")
    assert [name for name in configuration if name not in options and name not in TRAINING] == []
    assert {name: configuration[name] for name in options if not fits(configuration[name], options[name])} == {}
    rest = {name: value for name, value in configuration.items() if name not in options}
    Seq2SeqTrainingArguments(**rest | {"bf16": False, "use_cpu": True})


def test_llama_factory_finds_the_file_that_is_described_and_the_columns_that_its_rows_have() -> None:
    row, info = blocks("llama_factory.md", "json")
    (configuration,) = blocks("llama_factory.md", "yaml")
    described = info[configuration["dataset"]]
    assert set(described) <= DATASET_INFO
    assert set(described["columns"]) <= DATASET_COLUMNS
    assert set(described["columns"].values()) <= set(row)
    page = (RECIPES / "llama_factory.md").read_text(encoding="utf-8")
    assert f"-o {described['file_name']} " in page


def test_ms_swift_is_given_the_file_that_is_written() -> None:
    (configuration,) = blocks("ms_swift.md", "yaml")
    page = (RECIPES / "ms_swift.md").read_text(encoding="utf-8")
    assert f"-o {configuration['dataset'][0]} " in page
