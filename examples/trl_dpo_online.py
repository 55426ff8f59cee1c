"""DPO with TRL whose pairs are scored again before each epoch, with the adapter as it is by then.

    CONGRAD_MODELS=$PWD congrad up --model client/congrad/demo_data/checkpoint     # in another terminal
    python examples/trl_dpo_online.py

trains a LoRA on the shipped checkpoint. Before each epoch the adapter is published to the running workers, all pairs
are scored against it, and the epoch is trained on what is kept. In two processes, on two GPUs or, where there is none,
on the CPU:

    accelerate launch --multi_gpu --num_processes 2 examples/trl_dpo_online.py

(with `--cpu` accelerate starts one process, and leaves the others to MPI). Needs the extra `trl`. With pairs and a
checkpoint of your own: `--data`, `--model`; where the trainer and the workers share a GPU, `--sleep`.
"""

import argparse
from importlib.resources import files
from pathlib import Path

import congrad
import torch
from congrad.integrations.trl import FilterCallback
from datasets import load_dataset
from peft import LoraConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

DEMO = Path(str(files("congrad"))) / "demo_data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains on the pairs that the policy of each epoch keeps.")
    parser.add_argument("--data", default=str(DEMO / "pairs.jsonl"), help="JSON Lines: TRL's columns, and language")
    parser.add_argument("--model", default=str(DEMO / "checkpoint"), help="the checkpoint that the service serves")
    parser.add_argument("--url", help="the service; default: CONGRAD_BASE_URL, else http://127.0.0.1:8000")
    parser.add_argument("--output", default="build/trl-dpo-online", help="where the adapters go")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rows", type=int, help="of the pairs, only the first so many")
    parser.add_argument("--sleep", action="store_true", help="workers give their GPU back while the trainer steps")
    return parser.parse_args()


def trainer_of(args: argparse.Namespace) -> DPOTrainer:
    config = DPOConfig(
        output_dir=args.output,
        num_train_epochs=args.epochs,
        learning_rate=1e-3,
        bf16=torch.cuda.is_available(),  # TRL's default, which it refuses on a CPU
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
    )
    pairs = load_dataset("json", data_files=args.data, split="train")
    pairs = pairs.select(range(args.rows or len(pairs)))
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    return DPOTrainer(args.model, args=config, train_dataset=pairs, peft_config=lora)


def main() -> None:
    args = arguments()
    trainer = trainer_of(args)
    with congrad.Client(args.url) as client:
        callback = FilterCallback(trainer, client, sleep=args.sleep)
        trainer.add_callback(callback)
        loss = trainer.train().training_loss
    trainer.save_model()
    if trainer.accelerator.is_main_process:
        for scored in callback.history:
            print(f"step {scored.step}: kept {scored.kept} of {len(scored.keep)} pairs ({scored.fingerprint})")
        print(f"mean loss {loss:.4f}; saved in {args.output}")


if __name__ == "__main__":
    main()
