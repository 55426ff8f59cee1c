"""DPO with TRL on the pairs that the filter keeps.

    congrad up --model client/congrad/demo_data/checkpoint     # in another terminal
    python examples/trl_dpo.py

filters the shipped pairs through the running service, trains the shipped checkpoint on what is kept, and saves it.
Needs the extra `trl`. With pairs and a checkpoint of your own: `--data`, `--model`.
"""

import argparse
from collections import Counter
from importlib.resources import files
from pathlib import Path

import congrad
import torch
from congrad.integrations.trl import filter_dataset
from datasets import Dataset, load_dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

DEMO = Path(str(files("congrad"))) / "demo_data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains on the pairs that a running CONGRAD service keeps.")
    parser.add_argument("--data", default=str(DEMO / "pairs.jsonl"), help="JSON Lines: TRL's columns, and language")
    parser.add_argument("--model", default=str(DEMO / "checkpoint"), help="the checkpoint that the service scores with")
    parser.add_argument("--url", help="the service; default: CONGRAD_BASE_URL, else http://127.0.0.1:8000")
    parser.add_argument("--direction", default="default", help="a new one for new pairs, and for a new checkpoint")
    parser.add_argument("--output", default="build/trl-dpo", help="where the trained checkpoint goes")
    parser.add_argument("--max-steps", type=int, default=-1, help="default: one epoch")
    return parser.parse_args()


def print_by_language(scored: Dataset) -> None:
    rows = Counter(zip(scored["language"], scored["keep"], strict=True))
    for language in sorted({language for language, _ in rows}):
        print(f"{language:8} kept {rows[language, True]:4}   dropped {rows[language, False]:4}")


def train(kept: Dataset, model: str, output: str, max_steps: int) -> float:
    """DPO on the kept pairs; the mean loss of the run. The trained checkpoint is in ``output``."""
    config = DPOConfig(
        output_dir=output,
        max_steps=max_steps,
        num_train_epochs=1,
        bf16=torch.cuda.is_available(),  # TRL's default, which it refuses on a CPU
        save_strategy="no",
        report_to="none",
    )
    trainer = DPOTrainer(model, args=config, train_dataset=kept)
    loss = trainer.train().training_loss
    trainer.save_model()
    return loss


def main() -> None:
    args = arguments()
    pairs = load_dataset("json", data_files=args.data, split="train")
    with congrad.Client(args.url) as client:
        scored = filter_dataset(pairs, client, direction=args.direction, two_pass=True)
    print_by_language(scored)
    kept = scored.filter(lambda keep: keep, input_columns="keep")
    loss = train(kept, args.model, args.output, args.max_steps)
    print(f"trained on {len(kept)} of {len(pairs)} pairs, mean loss {loss:.4f}; saved in {args.output}")


if __name__ == "__main__":
    main()
