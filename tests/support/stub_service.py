"""A service that decides at once, by the sample's own words: for the client's tests, which are not about scores.

It keeps the contract where the client depends on it: one effect for each Idempotency-Key, limits, problem documents.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
from congrad.contract import wire

Handler = Callable[[httpx.Request], httpx.Response]


VIEWS: dict[tuple[str, str], Any] = {
    ("GET", "/checkpoints"): [],
    ("GET", "/queue"): {"active": 0, "limit": 1, "oldest_s": None, "checkpoints": [], "decide": 0},
}


def sample(number: int, language: str = "de") -> dict[str, Any]:
    """A sample whose conflict score is ``number / 1000``."""
    return {"language": language, "prompt": "p", "chosen": str(number), "rejected": "r"}


def problem(status: int, detail: str = "what is wrong", **fields: Any) -> httpx.Response:
    """A problem document as an answer."""
    document = wire.Problem(title="t", status=status, detail=detail, **fields)
    return httpx.Response(status, text=document.model_dump_json(exclude_none=True), headers={"X-Request-ID": "r1"})


class StubService:
    """Call it with requests. ``before`` may answer in its place."""

    def __init__(self, max_samples: int = 4096, before: Callable[[httpx.Request], httpx.Response | None] | None = None):
        self.max_samples = max_samples
        self.before = before
        self.folded: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[httpx.Request] = []
        self._answers: dict[str, tuple[bytes, wire.FilterResult]] = {}
        self._jobs: dict[str, wire.FilterResult] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) in VIEWS:  # questions that change nothing are not counted
            return httpx.Response(200, json=VIEWS[request.method, request.url.path])
        self.requests.append(request)
        early = self.before(request) if self.before else None
        if early is not None:
            return early
        match request.method, request.url.path.split("/")[1:]:
            case "POST", ["filter"]:
                return self._filter(request)
            case "POST", ["jobs", job_id, "rescore"]:
                return self._ok(self._result(self._jobs[job_id].decisions, f"{job_id}-again", shift=-1.0))
            case "GET", ["readyz"]:
                return httpx.Response(200, json={"status": "ready"})
        return problem(404)

    def _filter(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        parsed = wire.FilterRequest.model_validate(body)
        if len(parsed.samples) > self.max_samples:
            return problem(413, "too many")
        key = request.headers["Idempotency-Key"]
        if key in self._answers:
            before, result = self._answers[key]
            return self._ok(result) if before == request.content else problem(422, "another body")
        self.bodies.append(body)
        self.folded.update(str(s.id) for s in parsed.samples)
        decisions = [
            wire.Decision(
                id=str(s.id),
                language=s.language,
                keep=_number(s) <= 0,
                conflict_score=_number(s) / 1000,
                conflicts_with=[],
                truncated=False,
                reason=None,
            )
            for s in parsed.samples
        ]
        result = self._result(decisions, f"job{len(self._jobs)}")
        self._jobs[result.job_id] = result
        self._answers[key] = (request.content, result)
        return self._ok(result)

    def _result(self, decisions: list[wire.Decision], job_id: str, shift: float = 0.0) -> wire.FilterResult:
        if shift:
            scores = [(d.conflict_score or 0) + shift for d in decisions]
            decisions = [
                replace(d, conflict_score=score, keep=score <= 0) for d, score in zip(decisions, scores, strict=True)
            ]
        return wire.FilterResult(
            job_id=job_id,
            direction=wire.DirectionRef(name="default", version=len(self._jobs), checkpoint="c", languages={}),
            decisions=decisions,
            summary=wire.Summary(kept=0, dropped=0, by_language={}),
            timing=wire.Timing(queued_s=0, gradients_s=0, decide_s=0, total_s=0),
        )

    def _ok(self, result: wire.FilterResult) -> httpx.Response:
        return httpx.Response(200, text=result.model_dump_json())


def _number(sample: wire.AnySample) -> int:
    """What the completion that is to be learnt says."""
    return int(str(sample.completion if isinstance(sample, wire.PromptCompletion) else sample.chosen))
