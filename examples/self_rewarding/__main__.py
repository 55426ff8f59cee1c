"""The loop: rounds, and the steps of a round."""

import argparse
import signal
import sys
from pathlib import Path
from random import Random

from congrad import Client
from congrad.errors import CongradError
from rich.console import Console

from .judging import Pair, best_against_worst, judge, mean_scores
from .policy import Policy, free_memory
from .prompts import Answered, Prompt, Prompts
from .report import Report, print_report, report
from .settings import Settings, read_settings
from .steps import once, whole
from .training import train
from .workers import Filtered, filter_pairs, serving

out = Console()


class Loop:
    """Rounds in a folder. What an earlier run of the same settings has done there is not done again."""

    def __init__(self, settings: Settings, folder: Path, client: Client):
        self._settings = settings
        self._folder = folder
        self._client = client
        self._prompts = Prompts(settings)

    def run(self, rounds: int) -> None:
        """Each round begins with the checkpoint that the one before it trained."""
        policy = self._settings.model
        before = self._evaluate("start", policy)
        for number in range(1, rounds + 1):
            pairs = self._pair(number, policy)
            filtered = self._filter(number, policy, pairs)
            policy = self._train(number, policy, pairs, filtered)
            after = self._evaluate(f"round-{number}", policy)
            self._report(number, filtered, before, after)
            before = after

    def _pair(self, number: int, policy: str) -> list[Pair]:
        """Candidates that the policy has judged itself, best against worst."""
        folder, prompts = self._folder / f"round-{number}", self._prompts.of_round(number)
        judged = self._judged(folder, policy, policy, prompts, f"round {number}")
        pairs = once(folder / "pairs.json", list[Pair], lambda: best_against_worst(judged, self._settings.min_gap))
        if not pairs:
            raise SystemExit(f"round {number}: every prompt is a tie; {folder}/judged.json has the answers")
        return pairs

    def _filter(self, number: int, policy: str, pairs: list[Pair]) -> Filtered:
        """Decisions of workers that have the policy."""
        path = self._folder / f"round-{number}" / "decisions.json"
        return once(path, Filtered, lambda: filter_pairs(pairs, policy, self._client, self._settings))

    def _train(self, number: int, policy: str, pairs: list[Pair], filtered: Filtered) -> str:
        """The path of the checkpoint trained on the kept pairs."""
        folder = self._folder / f"round-{number}"
        kept = [pair for pair, decision in zip(pairs, filtered.decisions, strict=True) if decision.keep]
        if not kept:
            raise SystemExit(f"round {number}: no pair was kept; {folder}/decisions.json says why")
        trained = folder / f"policy-{number}"
        if not trained.exists():
            with whole(trained) as partial:
                loss = train(kept, policy, partial, self._settings)
            free_memory()
            out.print(f"round {number}: trained on {len(kept)} pairs, mean loss {loss:.4f}")
        return str(trained)

    def _evaluate(self, name: str, policy: str) -> dict[str, float]:
        """Mean scores on the held-out prompts by language, always by the same judge: the first checkpoint."""
        folder = self._folder / name / "evaluation"
        return mean_scores(self._judged(folder, policy, self._settings.model, self._prompts.held_out, "evaluation"))

    def _report(self, number: int, filtered: Filtered, before: dict[str, float], after: dict[str, float]) -> None:
        prompts = len(self._prompts.of_round(number))
        path = self._folder / f"round-{number}" / "report.json"
        print_report(once(path, Report, lambda: report(number, prompts, filtered, before, after)), out)

    def _judged(self, folder: Path, policy: str, by: str, prompts: list[Prompt], seed: str) -> list[Answered]:
        """Candidates for the answers of ``policy``, scored."""
        folder.mkdir(parents=True, exist_ok=True)
        number = Random(f"{self._settings.seed} {seed}").getrandbits(32)  # noqa: S311 # no secret
        answered = once(
            folder / "candidates.json",
            list[Answered],
            lambda: Policy(policy, self._settings).answer(prompts, number),
        )
        free_memory()
        judged = once(folder / "judged.json", list[Answered], lambda: judge(answered, by, self._settings))
        free_memory()
        return judged


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.self_rewarding", description=__doc__)
    parser.add_argument("settings", type=Path, help="a TOML file; see settings.py")
    parser.add_argument("--output", type=Path, required=True, help="the run's folder; a run that is there goes on")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args(arguments)
    settings = read_settings(args.settings)
    args.output.mkdir(parents=True, exist_ok=True)
    if once(args.output / "settings.json", Settings, lambda: settings) != settings:
        parser.error(f"{args.output} is a run with other settings: see its settings.json")
    try:
        with serving(args.output / "stack", settings) as client:
            Loop(settings, args.output, client).run(args.rounds)
    except CongradError as error:
        raise SystemExit(f"{error}; run it again to go on") from error


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; run it again to go on"))  # stops the workers in order
    main()
