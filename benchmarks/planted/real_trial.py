"""One seed on real pairs: labels swapped, scores, and the models that come of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from benchmarks.planted import arms, real_text
from benchmarks.planted.likelihoods import HeldOut, sequence_logps
from benchmarks.planted.pretraining import encode
from benchmarks.planted.real_text import Labelled, RealPairs
from benchmarks.planted.scoring import ask, conflict, rules, unit_gradients
from benchmarks.planted.statistics import auroc, average_precision
from benchmarks.planted.training import Recipe, train

DEFAULT = "default"
NORMALISED = "loss sigmoid_norm"
MLP = "MLP only"
OPTIONS: dict[str, dict[str, object]] = {
    DEFAULT: {},
    MLP: {"target_modules": "mlp"},
    f"{MLP}, D = 65,536": {"target_modules": "mlp", "projection_rank": 256, "projection_dim": 65_536},
    NORMALISED: {"loss": "sigmoid_norm"},
}
"""Settings that gradients are computed with."""
MATCHED, BALANCED, ANY = "matched", "balanced", "any"
LENGTH_RATIO = "length, shorter chosen"
TRAINED = (arms.ALL, arms.RANDOM, LENGTH_RATIO, arms.THRESHOLD, arms.ORACLE)


def run(real: RealPairs, model: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    subsets = {
        MATCHED: real.seen.of(real_text.matched(real.seen)),
        BALANCED: real.seen.of(real_text.balanced(real.seen)),
        ANY: real.seen,
    }
    return {
        "seed": seed,
        "detection": {name: detection(pairs, seed) for name, pairs in subsets.items()},
        **training(real, model, recipe, seed),
    }


def detection(pairs: Labelled, seed: int) -> dict[str, Any]:
    """How well each score finds a fifth of the labels swapped."""
    wrong = real_text.plant(pairs.languages, seed)
    pairs = pairs.swapped(wrong)
    found = {LENGTH_RATIO: -pairs.length_ratios, **arms.scores(_evidence(pairs, wrong))}
    del found[arms.LENGTH]  # the length of both together says nothing of which is better
    for name, samples in pairs.samples.items():
        prefix = "CONGRAD" if name == DEFAULT else f"CONGRAD, {name}"
        if name != DEFAULT:
            found[prefix] = conflict(ask(samples, rules()))
        found[f"{prefix}, unit gradients"] = conflict(ask(unit_gradients(samples), rules()))
    return {
        "pairs": len(wrong),
        **{
            name: {"auroc": auroc(scores, wrong), "average_precision": average_precision(scores, wrong)}
            for name, scores in found.items()
        },
    }


def _evidence(pairs: Labelled, wrong: np.ndarray) -> arms.Evidence:
    return arms.Evidence(pairs.samples[DEFAULT], pairs.encoded, pairs.logps, wrong)


@dataclass(frozen=True)
class Split:
    """Pairs to train on, and pairs whose prompts are held out in all languages at once: a translation of what is
    trained on is not new."""

    trained: Labelled
    held_seen: Labelled
    held_unseen: Labelled


def split(real: RealPairs, seed: int) -> Split:
    """Short pairs of matched length; a third of the prompts are held out."""
    seen, unseen = (real_text.short(pairs.of(real_text.matched(pairs))) for pairs in (real.seen, real.unseen))
    groups = np.unique(np.append(seen.groups, unseen.groups))
    out = np.random.default_rng([seed, 4]).permutation(groups)[: round(real_text.HELD_OUT * len(groups))]
    return Split(
        seen.of(np.flatnonzero(~np.isin(seen.groups, out))),
        *(each.of(np.flatnonzero(np.isin(each.groups, out))) for each in (seen, unseen)),
    )


def training(real: RealPairs, model: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What becomes of the model on what each arm keeps. The tax is the perplexity of the held-out prompts, which no
    label says anything of."""
    start = LlamaForCausalLM.from_pretrained(model, dtype="float32")
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    parts = split(real, seed)
    wrong = real_text.plant(parts.trained.languages, seed)
    pairs = parts.trained.swapped(wrong)
    evidence = _evidence(pairs, wrong)
    found = arms.scores(evidence) | {LENGTH_RATIO: -pairs.length_ratios}
    kept = arms.selections(evidence, found, seed)
    encoded = parts.held_seen.encoded + parts.held_unseen.encoded
    prompts = encode(tokenizer, [("", str(text.prompt)) for text in parts.held_seen.texts + parts.held_unseen.texts])
    held = HeldOut(encoded, np.arange(len(encoded)) < len(parts.held_seen.encoded), prompts)
    before = sequence_logps(start, held.pairs)

    def outcome(keep: np.ndarray) -> dict[str, Any]:
        rows = [pairs.texts[i] for i in np.flatnonzero(keep)]
        curve = train(start, tokenizer, rows, recipe, seed, lambda trained: held.measure(trained, before))
        counts = {"kept": int(keep.sum()), "conflicts_kept": float(wrong[keep].mean())}
        return counts | curve[-1] | {"curve": curve}

    return {
        "held_out": {"seen": int(held.seen.sum()), "unseen": int((~held.seen).sum())},
        "start": held.measure(start, before),
        "arms": {name: outcome(kept[name]) for name in TRAINED},
    }
