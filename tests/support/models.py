"""Small models of real architectures, and the checkpoints at hand."""

import os
from importlib.resources import files
from pathlib import Path

import torch
from congrad_worker.checkpoints.checkpoint import Checkpoint, load
from congrad_worker.checkpoints.files import locate
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

DEMO_CHECKPOINT = Path(str(files("congrad"))) / "demo_data" / "checkpoint"
DEVICE = os.environ.get("TEST_DEVICE", "cpu")
"""Where models of tests are; `benchmarks/gpu_check.py` has them on a GPU."""

SHARED = Path(os.environ.get("CONGRAD_SHARED", Path(__file__).parents[3] / "shared"))
"""Real pairs and a checkpoint that are no part of the project; tests that use them skip where they are missing."""

SHARED_CHECKPOINT = SHARED / "checkpoints" / "tiny-multilingual"
SHARED_PAIRS = SHARED / "data" / "prefs.jsonl"


def settings(model: Path, **options: object) -> GradientSettings:
    """Gradient settings for a test; the environment has no say but for the device. Gradients keep their lengths, which
    are then tested too, and all their bits: `auto` is TF32 on a GPU."""
    given = {"model": str(model), "device": DEVICE, "dtype": "float32", "unit_gradients": False, **options}
    return GradientSettings.model_validate(given)


def checkpoint(model: Path, **options: object) -> Checkpoint:
    """A loaded checkpoint."""
    wanted = settings(model, **options)
    return load(locate(wanted), wanted)


def engine(model: Path, **options: object) -> GradientEngine:
    """A gradient engine on a checkpoint."""
    return verified_engine(checkpoint(model, **options), settings(model, **options))


def save_small_llama(folder: Path, seed: int = 0) -> Path:
    """A random Llama of 2 layers × 64 with the demo checkpoint's tokenizer, in float32."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.2,  # attention and gates that differ from token to token, as in a trained model
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tokenizer_without_bos(model: Path) -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer, which puts nothing before a text: of an empty one there are no tokens."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    tokenizer.bos_token = None
    return tokenizer


def save_lora(model: Path, folder: Path) -> Path:
    """A random LoRA adapter on a model; both of its factors are other than zero."""
    from peft import LoraConfig, get_peft_model  # takes seconds, and few tests have an adapter

    torch.manual_seed(1)
    base = LlamaForCausalLM.from_pretrained(model)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    adapted.save_pretrained(str(folder))
    return folder
