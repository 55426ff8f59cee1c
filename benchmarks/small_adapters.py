"""Small adapters of every kind that PEFT trains for causal language models, and quantised bases under LoRA, on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from benchmarks import small_models

LAYERS = ["q_proj", "v_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Case:
    """A checkpoint on disk, and how it is to be loaded."""

    kind: str
    name: str
    model: Path
    options: dict[str, Any] = field(default_factory=dict)


def _lora(**options: Any) -> peft.LoraConfig:
    given: dict[str, Any] = {"r": 4, "target_modules": LAYERS, "init_lora_weights": False} | options
    return peft.LoraConfig(**given)


def adapters() -> dict[str, peft.PeftConfig]:
    """Configurations by name; none of their factors is zero where PEFT lets one say so."""
    some: dict[str, Any] = {"target_modules": LAYERS}
    return {
        "LoRA": _lora(),
        "LoRA, all linear layers": _lora(target_modules="all-linear"),
        "LoRA, fresh": _lora(init_lora_weights=True),
        "LoRA with biases": _lora(bias="lora_only"),
        "LoRA with modules_to_save": _lora(target_modules=["q_proj"], modules_to_save=["gate_proj"]),
        "LoRA with embeddings and head": _lora(modules_to_save=["embed_tokens", "lm_head"]),
        "rsLoRA": _lora(use_rslora=True),
        "DoRA": _lora(use_dora=True),
        "PiSSA": _lora(init_lora_weights="pissa"),
        "OLoRA": _lora(init_lora_weights="olora"),
        "aLoRA": _lora(task_type="CAUSAL_LM", alora_invocation_tokens=[5, 6, 7]),
        "AdaLoRA": peft.AdaLoraConfig(r=4, total_step=10, init_lora_weights=False, **some),
        "LoHa": peft.LoHaConfig(r=4, init_weights=False, **some),
        "LoKr": peft.LoKrConfig(r=4, init_weights=False, **some),
        "OFT": peft.OFTConfig(oft_block_size=8, init_weights=False, **some),
        "BOFT": peft.BOFTConfig(boft_block_size=8, init_weights=False, **some),
        "VeRA": peft.VeraConfig(r=4, init_weights=False, target_modules=["q_proj"]),
        "RandLoRA": peft.RandLoraConfig(r=4, init_weights=False, target_modules=["q_proj"]),
        "FourierFT": peft.FourierFTConfig(n_frequency=20, init_weights=False, **some),
        "IA3": peft.IA3Config(target_modules=LAYERS, feedforward_modules=["down_proj"], init_ia3_weights=False),
        "LN tuning": peft.LNTuningConfig(target_modules=["input_layernorm"]),
        "Prompt tuning": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "Prefix tuning": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    }


def cases(folder: Path, tokenizer: Path, vocabulary: int) -> Iterator[Case]:
    """Each is made when it is asked for."""
    # Quantisation works on blocks of 64.
    small_models.OWN["llama"] = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    try:
        base = small_models.save(folder / "llama", small_models.small_model("llama", vocabulary), tokenizer)
    finally:
        del small_models.OWN["llama"]
    for name, config in adapters().items():
        yield Case("adapter", name, base, {"adapter": str(_adapted(base, folder / name, config))})
    yield from _on_other_bases(folder, tokenizer, vocabulary)
    lora = str(_adapted(base, folder / "lora", _lora()))
    yield Case("quantised", "NF4 (load_in_4bit), LoRA", base, {"adapter": lora, "load_in_4bit": True})
    yield Case("quantised", "NF4 (load_in_4bit), DoRA", base, {"adapter": str(folder / "DoRA"), "load_in_4bit": True})
    yield Case("quantised", "NF4 (load_in_4bit) without an adapter", base, {"load_in_4bit": True})
    kinds: dict[str, dict[str, Any]] = {
        "bitsandbytes NF4, saved": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        "bitsandbytes FP4, saved": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
        "bitsandbytes 8 bits, saved": {"load_in_8bit": True},
    }
    of: Any = BitsAndBytesConfig
    for name, options in kinds.items():
        saved = folder / name
        quantised = AutoModelForCausalLM.from_pretrained(base, quantization_config=of(**options), dtype=torch.float32)
        yield Case("quantised", f"{name}, LoRA", small_models.save(saved, quantised, tokenizer), {"adapter": lora})


def _on_other_bases(folder: Path, tokenizer: Path, vocabulary: int) -> Iterator[Case]:
    for name, target in {
        "gpt2": "all-linear", "gemma2": "all-linear", "phi3": "all-linear", "mixtral": ["q_proj", "v_proj"],
        "qwen3_moe": ["q_proj", "v_proj"], "bloom": "all-linear", "falcon_h1": ["q_proj", "v_proj"],
        "mamba": ["in_proj", "x_proj"],
    }.items():  # fmt: skip
        base = small_models.save(folder / name, small_models.small_model(name, vocabulary), tokenizer)
        adapter = _adapted(base, folder / f"{name} LoRA", _lora(target_modules=target))
        yield Case("adapter", f"LoRA on {name}", base, {"adapter": str(adapter)})


def _adapted(base: Path, folder: Path, config: peft.PeftConfig) -> Path:
    torch.manual_seed(1)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(str(folder))
    return folder
