"""One run: a stack, a load, faults, and what is to be said about it afterwards."""

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from chaos import check
from chaos.faults import GAP_S, Fault, Gap, Injector, Kind
from chaos.load import PAUSE_S, Load, Sent
from chaos.recovery import Life, Recovery, lives, recoveries
from chaos.stack import SERVED, SupervisedStack, supervised_stack

SETTLE_S = 60.0
"""How long the accepted jobs may take to end once the faults have stopped."""

TURN_S = 3.0
"""Then each checkpoint is served for so long, and the other one after it, until all that was asked for is answered."""


@dataclass(frozen=True)
class Outcome:
    """What was seen. The lists say what was wrong, one line each; all of them should be empty."""

    seed: int
    begun: float
    ended: float
    faults: list[Fault]
    sent: list[Sent]
    jobs: list[Life]
    recoveries: list[Recovery]
    ended_by_itself: list[str]
    wrong: list[str]
    lost: list[str]
    doubled: list[str]
    different: list[str]

    @property
    def late(self) -> list[str]:
        """The faults whose jobs came back too late."""
        return [
            f"{late.fault.kind}: its job ended after {late.seconds:.1f} s, in {late.able:.1f} of which every part was "
            f"there; allowed are {late.allowed:.0f} s"
            for late in self.recoveries
            if late.is_late
        ]

    @property
    def broken(self) -> list[str]:
        """All that was promised and not kept."""
        return [*self.wrong, *self.lost, *self.doubled, *self.different, *self.late]

    def report(self) -> str:
        """For the terminal and the documents."""
        accepted = [one for one in self.sent if one.job_id is not None]
        lines = [f"seed {self.seed}, {self.ended - self.begun:.0f} s of load", ""]
        lines += [f"{len(self.faults):6d}  faults"]
        counts = Counter(fault.kind for fault in self.faults)
        lines += [f"{counts[kind]:6d}    {kind}{_times(self.recoveries, kind)}" for kind in Kind]
        lines += [
            f"{len(accepted):6d}  jobs accepted",
            f"{sum(len(one.request.samples) for one in accepted):6d}    pairs in them",
            f"{check.repeats(self.sent):6d}    of which came again",
            f"{len(self.lost):6d}  jobs lost",
            f"{len(self.doubled):6d}  directions with a sample or a version too many or too few",
            f"{len(self.different):6d}  vectors that differ from those of a run without faults",
            f"{len(self.late):6d}  tasks of killed workers that came back too late",
            f"{len(self.wrong):6d}  wrong answers",
            f"{len(self.ended_by_itself):6d}  parts that ended by themselves",
            "",
            f"recovery{_times(self.recoveries, None)}",
            f"recovery of tasks whose worker was killed{_times([r for r in self.recoveries if r.fault.held], None)}",
            f"longest job: {max((job.ended - job.created for job in self.jobs), default=0):.1f} s",
        ]
        return "\n".join([*lines, *self.broken, *self.ended_by_itself])

    def diary(self) -> str:
        """When each fault came, in seconds from the beginning, and how long recovery took."""
        took = {id(recovery.fault): recovery for recovery in self.recoveries}
        lines = []
        for fault in self.faults:
            recovery = took.get(id(fault))
            spent = f"{recovery.seconds:5.1f} s, with all parts there {recovery.able:.1f} s" if recovery else "–"
            lines.append(f"{fault.at - self.begun:7.1f} s  {fault.kind}, {len(fault.held)} held: {spent}")
        return "\n".join(lines)


def run(
    seconds: float, seed: int, folder: Path, gap: Gap = GAP_S, store: str | None = None, pause: float = PAUSE_S
) -> Outcome:
    """Injects faults for so many seconds, and at least one of each kind, and then compares with a run without them.

    :param folder: for Redis's data and the parts' logs.
    :param store: the URL of a gradient store; the gradients of half of the jobs are kept there, and scored again when
        all is over.
    :param pause: the most seconds that a client pauses between two requests.
    """
    draw = random.Random(seed)  # noqa: S311 # not a secret
    settings = {} if store is None else {"CONGRAD_GRADIENT_STORE": store}
    with supervised_stack(folder / "chaos", draw, settings) as stack:
        injector, load = Injector(stack, draw, gap), Load(stack.url, seed, store is not None, pause)
        begun = time.time()
        with load.running():
            injector.run(seconds)
            load.stop_sending()
            _settle(stack, load)
        ended = time.time()
        sent = load.sent()
        committed = check.commits(sent)
        with httpx.Client(base_url=stack.url, timeout=60) as http:
            wrong = [text for one in sent for text in one.wrong] + check.unfulfilled(http, sent)
            doubled = check.doubled(http, sent, committed)
            unkept = check.unrescorable(http, sent)
            found = check.export(http, committed)
    jobs = lives(sent)
    return Outcome(
        seed=seed,
        begun=begun,
        ended=ended,
        faults=injector.faults,
        sent=sent,
        jobs=jobs,
        recoveries=recoveries(injector.faults, jobs, stack.parts),
        ended_by_itself=stack.ended_by_itself,
        wrong=wrong,
        lost=check.lost(sent) + unkept,
        doubled=doubled,
        different=check.different(found, _without_faults(committed, folder / "replay", draw)),
    )


def _settle(stack: SupervisedStack, load: Load) -> None:
    """Gives the jobs that are under way the time to end."""
    deadline = turn = time.monotonic()
    deadline += SETTLE_S
    while not (load.is_done and stack.is_whole) and time.monotonic() < deadline:
        stack.supervise()
        if time.monotonic() > turn + TURN_S and stack.publishes_the_other():
            turn = time.monotonic()


def _without_faults(committed: check.Commits, folder: Path, draw: random.Random) -> check.Vectors:
    # With the same number of threads: the order of a sum decides its last bits. One worker has the same sums as two.
    with (
        supervised_stack(folder, draw, gradients_workers=1) as stack,
        httpx.Client(base_url=stack.url, timeout=120) as http,
    ):
        for name in SERVED:
            if name not in stack.served():
                stack.wait_until(stack.publishes_the_other)
                stack.wait_until(lambda name=name: stack.served() == [name])  # type: ignore[misc]
            check.replay(http, {key: ones for key, ones in committed.items() if ones[0].request.checkpoint == name})
        return check.export(http, committed)


def _times(of: list[Recovery], kind: Kind | None) -> str:
    """Median and worst of the recoveries, those of one kind of fault or all."""
    seconds = [recovery.seconds for recovery in of if kind in (None, recovery.fault.kind)]
    return f": median {median(seconds):.1f} s, worst {max(seconds):.1f} s" if seconds else ""
