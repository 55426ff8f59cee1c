"""Supervised fine-tuning with TRL on the completions that the filter keeps.

    export CONGRAD_LOSS=sft
    congrad up --model client/congrad/demo_data/checkpoint     # in another terminal
    python examples/sft_filter.py

filters the chosen answers of the shipped pairs through the running service, trains the shipped checkpoint on what is
kept, and saves it. Needs the extra `trl`. With rows and a checkpoint of your own: `--data`, `--model`.
"""

import argparse
from importlib.resources import files
from pathlib import Path

import congrad
import torch
from congrad.integrations.trl import filter_dataset
from datasets import Dataset, load_dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

DEMO = Path(str(files("congrad"))) / "demo_data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains on the completions that a running CONGRAD service keeps.")
    parser.add_argument("--data", help="JSON Lines: prompt, completion and language; default: the shipped pairs")
    parser.add_argument("--model", default=str(DEMO / "checkpoint"), help="the checkpoint that the service scores with")
    parser.add_argument("--url", help="the service; default: CONGRAD_BASE_URL, else http://127.0.0.1:8000")
    parser.add_argument("--direction", default="default", help="a new one for new rows, and for a new checkpoint")
    parser.add_argument("--keep", type=float, default=0.8, help="the share to keep in each language")
    parser.add_argument("--output", default="build/sft", help="where the trained checkpoint goes")
    parser.add_argument("--max-steps", type=int, default=-1, help="default: one epoch")
    return parser.parse_args()


def read(data: str | None) -> Dataset:
    if data is not None:
        return load_dataset("json", data_files=data, split="train")
    pairs = load_dataset("json", data_files=str(DEMO / "pairs.jsonl"), split="train")
    return pairs.select_columns(["language", "prompt", "chosen"]).rename_column("chosen", "completion")


def train(kept: Dataset, model: str, output: str, max_steps: int) -> float:
    """Fine-tuning on the kept rows; the mean loss of the run. The trained checkpoint is in ``output``."""
    config = SFTConfig(
        output_dir=output,
        max_steps=max_steps,
        num_train_epochs=1,
        bf16=torch.cuda.is_available(),  # TRL's default, which it refuses on a CPU
        save_strategy="no",
        report_to="none",
    )
    trainer = SFTTrainer(model, args=config, train_dataset=kept)
    loss = trainer.train().training_loss
    trainer.save_model()
    return loss


def main() -> None:
    args = arguments()
    rows = read(args.data)
    selection = {"kind": "fraction", "keep": args.keep, "within": "language"}
    with congrad.Client(args.url) as client:
        kept = filter_dataset(rows, client, direction=args.direction, two_pass=True, selection=selection, drop=True)
    loss = train(kept, args.model, args.output, args.max_steps)
    print(f"trained on {len(kept)} of {len(rows)} completions, mean loss {loss:.4f}; saved in {args.output}")


if __name__ == "__main__":
    main()
