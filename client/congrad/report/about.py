"""What a report says of a run beside its decisions, and what it takes to run it again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from congrad.contract import wire

Setting = tuple[str, str]


@dataclass(frozen=True)
class About:
    """A run as far as it is known.

    :param source: name of the file that was filtered, or of that of its decisions.
    :param scored_against: the direction as it was then.
    :param state: the direction as it is now, with its cosines; None where it was not asked for, or has no answer.
    :param selection: what decided which pairs are kept.
    :param command: what was run, without the service's address.
    :param settings: of the run, by name.
    """

    source: str
    scored_against: wire.DirectionRef | None = None
    state: wire.Direction | None = None
    checkpoint: wire.Checkpoint | None = None
    selection: wire.Selection | None = None
    command: str | None = None
    settings: Sequence[Setting] = field(default_factory=list)

    @property
    def all_settings(self) -> list[Setting]:
        """Those of the run, of the direction, and of the workers."""
        return [*self.settings, *_of_direction(self.state), *_of_checkpoint(self.checkpoint)]


def in_words(selection: wire.Selection) -> str:
    """Which pairs a selection keeps."""
    if isinstance(selection, wire.ThresholdSelection):
        return f"conflict score of at most {selection.max_conflict:g}"
    of = {
        "language": "each language",
        "language-length": "each language, among pairs of like length ratio",
        "request": "all pairs",
        "stream": "the latest scores of its language in the direction",
    }[selection.within]
    return f"the {100 * selection.keep:g} % with the lowest conflict scores, of {of}"


def _of_direction(state: wire.Direction | None) -> list[Setting]:
    if state is None:
        return []
    half_life = "none: all samples count alike" if state.half_life is None else f"{state.half_life:g} samples"
    return [
        ("Direction", f"{state.name}, version {state.version}, updated {state.updated:%Y-%m-%d %H:%M:%S %Z}"),
        ("Half-life", half_life),
        ("Aggregator", ", ".join(f"{name} {value}".removeprefix("name ") for name, value in state.aggregator.items())),
        ("Checkpoint", f"{state.checkpoint}, fingerprint {state.fingerprint[:16]}"),
    ]


def _of_checkpoint(checkpoint: wire.Checkpoint | None) -> list[Setting]:
    if checkpoint is None:
        return []
    projection = checkpoint.projection
    rank = "" if projection.rank is None else f", rank {projection.rank}"
    coverage = f"{checkpoint.modules} layers, {100 * checkpoint.coverage:.1f} % of what is trained"
    layers = "" if checkpoint.layers == "all" else f", {checkpoint.layers.replace('-', ' ')} of the layers"
    return [
        ("Loss", f"{checkpoint.loss}, β {checkpoint.beta:g}, reference {checkpoint.reference}"),
        ("Gradients", f"{coverage}; target modules {checkpoint.target_modules or 'all'}{layers}"),
        ("Projection", f"{projection.kind}{rank}, {projection.dim:,} dimensions, seed {projection.seed}"),
        ("Longest pair", f"{checkpoint.max_length:,} tokens"),
        ("Precision", f"{checkpoint.dtype} on {', '.join(checkpoint.devices)}"),
    ]
