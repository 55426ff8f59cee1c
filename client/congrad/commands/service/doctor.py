"""`congrad doctor`: what is there, what is missing, and what to do about it, one check after another."""

import platform
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import httpx
import typer

from congrad.commands.terminal.options import ApiKey, AsJson, Url, connect
from congrad.commands.terminal.output import DONE, FAILED, UNAUTHORIZED_HINT, out, print_json
from congrad.commands.terminal.probe import Answer, Probe, readiness
from congrad.local.redis_server import StartError, redis_executable
from congrad.protocol.base_client import DEFAULT_BASE_URL
from congrad.protocol.connections.proxies import proxy_for

MAX_CLOCK_DIFFERENCE_S = 60.0


class Mark(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    INFO = "info"
    """Nothing depends on it here."""


STYLES = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.FAILED: "bold red", Mark.INFO: "dim"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``hint`` says what to do about it."""

    name: str
    mark: Mark
    detail: str
    hint: str | None = None


def doctor(url: Url = DEFAULT_BASE_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Checks the service and the way to it, and says what to do about what is wrong.

    The exit status is 0 if all is well, and 1 if a check failed; a warning is not a failure.
    """
    with connect(url, api_key) as client, closing(Probe(client.base_url, api_key)) as probe:
        checks = []
        for check in _checks(probe, client.base_url, bool(api_key)):
            checks.append(check)
            if not as_json:
                _print(check)
    failed = any(check.mark is Mark.FAILED for check in checks)
    if as_json:
        print_json({"url": client.base_url, "ok": not failed, "checks": [asdict(check) for check in checks]})
    raise typer.Exit(FAILED if failed else DONE)


def _print(check: Check) -> None:
    out.print(f"[{STYLES[check.mark]}]{check.mark:<8}[/]{check.name}:", end=" ", highlight=False)
    out.print(check.detail, markup=False, highlight=False, soft_wrap=True)
    if check.hint is not None:
        out.print(f"{'':8}{check.hint}", markup=False, highlight=False, soft_wrap=True)


def _checks(probe: Probe, url: str, has_token: bool) -> Iterator[Check]:
    proxy = proxy_for(url)
    if proxy is not None:
        hint = "NO_PROXY with the service's name, address or network leads past it"
        yield Check("proxy", Mark.INFO, f"{url} is reached through {proxy}, which the environment names", hint)
    live = probe.get("/livez")
    reachable = _reachable(live, url)
    yield reachable
    if reachable.mark is Mark.OK:
        yield _clock(live)
        ready = probe.get("/readyz")
        token = _token(ready, has_token)
        yield token
        if token.mark is Mark.OK:
            yield _ready(ready)
            yield _checkpoints(probe.get("/checkpoints"))
            yield _versions(probe.get("/openapi.json"))
    yield from _local()


def _reachable(live: Answer, url: str) -> Check:
    if live.failure is not None:
        hint = "start a service with `congrad up --model PATH`, or say where it is with --url or CONGRAD_BASE_URL"
        return Check("service", Mark.FAILED, f"{url} {live.failure}", hint)
    if live.status != httpx.codes.OK or live.body != {"status": "live"}:
        detail = f"{url} answers with status {live.status}, and not as CONGRAD does"
        hint = "something else is there: see --url, an address without a route behind it, and proxies on the way"
        return Check("service", Mark.FAILED, detail, hint)
    return Check("service", Mark.OK, f"{url} can be reached")


def _clock(live: Answer) -> Check:
    """HTTP's dates are whole seconds."""
    try:
        theirs = parsedate_to_datetime(live.headers["Date"])
    except (KeyError, ValueError):
        return Check("clock", Mark.INFO, "the service does not say what time it is")
    difference = (datetime.now(UTC) - theirs).total_seconds()
    if abs(difference) > MAX_CLOCK_DIFFERENCE_S:
        detail = f"this machine is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the service"
        return Check("clock", Mark.WARNING, detail, "set both by NTP: times in logs and directions cannot be compared")
    return Check("clock", Mark.OK, "agrees with the service's")


def _token(ready: Answer, has_token: bool) -> Check:
    if ready.status == httpx.codes.UNAUTHORIZED:
        wrong = "the service does not accept this token" if has_token else "the service asks for a token"
        return Check("token", Mark.FAILED, wrong, UNAUTHORIZED_HINT)
    if ready.status == httpx.codes.FORBIDDEN:
        hint = "any token of CONGRAD's would do for this; see what a proxy on the way asks for"
        return Check("token", Mark.FAILED, ready.problem or "", hint)
    return Check("token", Mark.OK, "accepted" if has_token else "none is needed")


def _ready(ready: Answer) -> Check:
    if ready.problem is None:
        return Check("ready", Mark.OK, f"Redis is there, and {readiness(ready.body)}")
    hint = "a worker is ready once its checkpoint is loaded; if it stays so, see the log of the worker and of Redis"
    return Check("ready", Mark.FAILED, ready.problem, hint)


def _checkpoints(answer: Answer) -> Check:
    items: list[Any] = answer.body if isinstance(answer.body, list) else [None]
    if answer.problem is not None or not all(isinstance(item, dict) for item in items):
        return Check("checkpoints", Mark.FAILED, answer.problem or "the answer is no list of checkpoints")
    if not items:
        return Check("checkpoints", Mark.FAILED, "no live worker serves one", "start a gradients worker")
    return Check("checkpoints", Mark.OK, ", ".join(_served(item) for item in items))


def _served(item: dict[str, Any]) -> str:
    """A checkpoint, and who serves it: nobody, where a request brings workers up."""
    workers = f"{item['workers']} on {' '.join(item.get('devices', []))}" if item.get("workers") else "no worker now"
    return f"{item.get('name')} ({workers})"


def _versions(openapi: Answer) -> Check:
    ours = version("congrad-filter")
    theirs = openapi.body.get("info", {}).get("version") if isinstance(openapi.body, dict) else None
    if theirs is None or openapi.problem is not None:
        return Check("versions", Mark.WARNING, f"client {ours}; the service does not say its own")
    if theirs != ours:
        return Check("versions", Mark.WARNING, f"client {ours}, service {theirs}", "install the same version on both")
    return Check("versions", Mark.OK, f"client and service {ours}")


def _local() -> Iterator[Check]:
    yield _package()
    yield Check("python", Mark.INFO, f"{platform.python_version()}, httpx {version('httpx')}")
    if find_spec("pyarrow") is not None:
        yield Check("parquet", Mark.INFO, f"pyarrow {version('pyarrow')}")
    else:
        yield Check(
            "parquet", Mark.INFO, "pyarrow is not installed", "for Parquet: pip install 'congrad-filter[parquet]'"
        )
    try:
        yield Check("redis", Mark.INFO, f"`congrad up` would start {redis_executable()}")
    except StartError as error:
        yield Check("redis", Mark.INFO, f"`congrad up` would not start: {error}")


def _package() -> Check:
    """PyPI's `congrad` is a solver of linear equations that is imported by the same name: each of the two overwrites
    the other's `congrad/__init__.py`, and takes it along when it goes."""
    ours = f"congrad-filter {version('congrad-filter')}"
    try:
        theirs = version("congrad")
    except PackageNotFoundError:
        return Check("package", Mark.INFO, ours)
    hint = "pip uninstall congrad, then install congrad-filter again with --force-reinstall --no-deps"
    return Check("package", Mark.WARNING, f"{ours} shares its folder with another project's congrad {theirs}", hint)
