"""Results as tables for a terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from congrad.contract import wire

TEXT_WIDTH = 60
COSINE_WIDTH = len("+0.00")
ID_WIDTH = 32
"""Of a job's id, which is copied whole or is of no use."""


def summary_table(summary: wire.Summary) -> Table:
    """Kept, dropped and mean conflict by language, and how many over all."""
    table = Table(title="By language")
    table.add_column("language")
    for name in ("kept", "dropped", "mean conflict"):
        table.add_column(name, justify="right")
    for tag, language in summary.by_language.items():
        mean = "-" if language.mean_conflict is None else f"{language.mean_conflict:+.3f}"
        table.add_row(tag, str(language.kept), str(language.dropped), mean)
    table.add_section()
    table.add_row("all", str(summary.kept), str(summary.dropped))
    return table


def worst_table(decisions: Sequence[wire.Decision], texts: dict[str, tuple[str, str, str]], count: int) -> Table:
    """The pairs with the highest conflict scores, with their texts.

    :param texts: prompt, chosen and rejected by id.
    """
    scored = [(decision.conflict_score, decision) for decision in decisions if decision.conflict_score is not None]
    table = Table(title="Worst conflicts", show_lines=True)
    table.add_column("pair")
    table.add_column("conflict", justify="right")
    table.add_column("conflicts with", max_width=16)
    table.add_column("prompt, chosen, rejected")
    for conflict, decision in sorted(scored, key=lambda item: -item[0])[:count]:
        lines = "\n".join(_cut(text) for text in texts[decision.id])
        table.add_row(decision.id, f"{conflict:+.3f}", " ".join(decision.conflicts_with), Text(lines))
    return table


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_WIDTH else line[: TEXT_WIDTH - 1] + "…"


def counts_table(what: str, by_language: Mapping[str, int]) -> Table:
    """A count by language, and over all."""
    table = Table(title="By language")
    table.add_column("language")
    table.add_column(what, justify="right")
    for tag, count in sorted(by_language.items()):
        table.add_row(tag, str(count))
    table.add_section()
    table.add_row("all", str(sum(by_language.values())))
    return table


def checkpoints_table(checkpoints: Sequence[wire.Checkpoint]) -> Table:
    """What the live workers serve, how many of them are asleep, and what takes its place."""
    table = Table(title="Checkpoints")
    table.add_column("name", overflow="fold")
    table.add_column("fingerprint", no_wrap=True)  # requests name it, and so do KEDA's objects
    for name in ("loss", "devices"):
        table.add_column(name, overflow="fold")
    for name in ("workers", "max length"):
        table.add_column(name, justify="right")
    has_next = any(checkpoint.publication is not None for checkpoint in checkpoints)
    if has_next:
        table.add_column("in its place", overflow="fold")
    for checkpoint in checkpoints:
        # Text and no strings: the names are anyone's, and rich would read brackets in them as markup.
        table.add_row(
            Text(checkpoint.name),
            checkpoint.fingerprint,
            checkpoint.loss,
            Text(" ".join(checkpoint.devices)),
            _workers(checkpoint),
            str(checkpoint.max_length),
            *([_next(checkpoint.publication)] if has_next else []),
        )
    return table


def _workers(checkpoint: wire.Checkpoint) -> str:
    if checkpoint.seen is not None and not checkpoint.workers:
        return f"0, seen {checkpoint.seen:%Y-%m-%d %H:%M}"
    return f"{checkpoint.workers}, {checkpoint.asleep} asleep" if checkpoint.asleep else str(checkpoint.workers)


def _next(publication: wire.Publication | None) -> Text:
    """A checkpoint on its way: its name, how far it is, and why it is no further."""
    if publication is None:
        return Text("")
    stages = sorted({one.stage for one in publication.workers})  # what `loading` is made of, where workers have begun
    standing = publication.status if publication.status.ended or not stages else " ".join(stages)
    name = publication.name or "what was published"  # nobody has looked at the files yet
    return Text(f"{name}: {standing}{'' if publication.error is None else f': {publication.error}'}")


def directions_table(directions: Sequence[wire.DirectionSummary]) -> Table:
    """The running directions."""
    table = Table(title="Directions")
    table.add_column("name", overflow="fold")
    table.add_column("version", justify="right")
    table.add_column("checkpoint", overflow="fold")
    table.add_column("samples", justify="right")
    table.add_column("languages")
    for direction in directions:
        counts = " ".join(f"{tag} {count}" for tag, count in sorted(direction.languages.items()))
        samples = str(sum(direction.languages.values()))
        table.add_row(direction.name, str(direction.version), Text(direction.checkpoint), samples, counts)
    return table


def failed_table(jobs: Sequence[wire.JobSummary]) -> Table:
    """What was given up, and why. The ids are whole on a terminal of 80 columns: `congrad retry` asks for them."""
    table = Table(title="Failed jobs", show_lines=True)
    table.add_column("job", width=ID_WIDTH)
    table.add_column("why", overflow="fold")
    for job in jobs:
        table.add_row(Text("\n".join([job.id, *_of_job(job)]), overflow="fold"), Text("\n".join(_why(job))))
    return table


def _of_job(job: wire.JobSummary) -> list[str]:
    starts = "" if job.starts is None else f", started {job.starts} time{'' if job.starts == 1 else 's'}"
    pairs = f"{job.samples} pair{'' if job.samples == 1 else 's'}{starts}"
    return [*([] if job.ended is None else [f"ended {job.ended:%Y-%m-%d %H:%M}"]), pairs, job.checkpoint]


def _why(job: wire.JobSummary) -> list[str]:
    again = [f"tried again as {job.retried}"] if job.retried else ["can be tried again"] * job.can_be_retried
    return [*([] if job.error is None else [job.error.detail]), *again]


def languages_table(direction: wire.Direction) -> Table:
    """The languages of a direction: samples folded in, effective number of samples, norm of the gradient, and what each
    counts in the direction."""
    table = Table(title="Languages")
    table.add_column("language")
    for name in ("samples", "effective", "norm", "counts"):
        table.add_column(name, justify="right")
    for tag, language in direction.languages.items():
        counts = f"{direction.weights[tag]:.1%}".replace("%", " %") if tag in direction.weights else "-"
        table.add_row(tag, str(language.samples), f"{language.weight:.1f}", f"{language.norm:.4g}", counts)
    return table


def cosines_table(tags: Sequence[str], cosines: Sequence[Sequence[float]]) -> Table:
    """A matrix of cosines, [languages, languages]; conflicts in red. As wide as it needs to be, on any terminal."""
    widths = [max(len(tag), COSINE_WIDTH) for tag in tags]
    table = Table(box=None, pad_edge=False, width=max(map(len, tags)) + 2 * len(tags) + sum(widths))
    table.add_column("")
    for tag, width in zip(tags, widths, strict=True):
        table.add_column(tag, justify="right", width=width)
    for tag, row in zip(tags, cosines, strict=True):
        table.add_row(tag, *(Text(f"{cosine:+.2f}", style="red" if cosine < 0 else "") for cosine in row))
    return table
