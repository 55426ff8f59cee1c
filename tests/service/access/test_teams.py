"""What teams see of each other: nothing. Over a real Redis; the tests do the workers' part."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad.contract.tokens import Role
from congrad_service.app import create_app
from congrad_worker.tasks.store import Store
from fastapi.routing import iter_route_contexts
from support.serving import compute, opened, settings, settle
from support.tokens import bearer, write_tokens

CALLERS = {"nlp": "nlp", "nlp-2": "nlp", "vision": "vision", "nobody": None, "nobody-2": None}
"""The teams of tokens."""

APP = create_app(settings("redis://127.0.0.1:1/0"))
NAMING = sorted(
    (method, str(route.path))
    for route in iter_route_contexts(APP.routes)
    for method in route.methods or ("GET",)
    if any(name in str(route.path) for name in ("{job_id}", "{name}"))
)
"""The routes that name a job or a direction."""

STRANGERS = [("nlp", "vision"), ("nlp", "nobody"), ("nobody", "nlp")]
"""Owner and stranger."""


class Service:
    """A service with the tokens of `CALLERS`, all admins, and the hands of its workers."""

    def __init__(self, client: httpx.AsyncClient, loop: asyncio.Runner, store: Store):
        self._client = client
        self._loop = loop
        self.store = store

    def call(self, caller: str, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Prefer": "respond-async", **bearer(caller), **request.pop("headers", {})}
        return self._loop.run(self._client.request(method, path, headers=headers, **request))

    def submit(self, caller: str, languages: Sequence[str] = ("de", "fr"), key: str = "", **body: Any) -> str:
        """The id of a job of the caller's."""
        samples = [{"language": tag, "prompt": "p", "chosen": "c", "rejected": "r"} for tag in languages]
        headers = {"Idempotency-Key": key} if key else {}
        response = self.call(caller, "POST", "/filter", json={"samples": samples, **body}, headers=headers)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def finish(self, caller: str, **body: Any) -> str:
        """The id of a job of the caller's that has succeeded."""
        job_id = self.submit(caller, **body)
        compute(self.store, job_id)
        settle(self.store, job_id)
        return job_id

    def held(self) -> dict[bytes, object]:
        """All jobs and directions as Redis holds them, with what belongs to them."""
        redis = self.store.redis
        kinds = ("job", "direction", "history", "conflicts")
        found = [key for kind in kinds for key in redis.scan_iter(f"congrad:{kind}:*")]
        found = [key for key in found if b":doing:" not in key]  # says who is at it, for seconds
        # Not as DUMP has it, which does not compress alike each time.
        return {key: redis.hgetall(key) if redis.type(key) == b"hash" else redis.dump(key) for key in found}


@pytest.fixture
def running(redis_url: str, store: Store, tmp_path: Path) -> Iterator[Service]:
    """A service whose workers are announced."""
    entries = [(name, Role.ADMIN, team) for name, team in CALLERS.items()]
    keys_file = write_tokens(tmp_path / "tokens.toml", *entries)
    with opened(redis_url, api_keys_file=keys_file) as (client, loop):
        yield Service(client, loop, store)


@pytest.mark.parametrize(("owner", "stranger"), STRANGERS)
@pytest.mark.parametrize(("method", "route"), NAMING)
def test_another_team_gets_what_it_would_get_for_what_does_not_exist(
    method: str, route: str, owner: str, stranger: str, running: Service
) -> None:
    job, waiting = running.finish(owner, retain=True), running.submit(owner)
    state = running.call(owner, "GET", "/directions/default/state")
    before = running.held()
    assert len(before) > 5

    def ask(job_id: str, name: str) -> tuple[int, str, list[str]]:
        """Status, body and names of headers, without what the request itself named."""
        body: dict[str, Any] = {"content": state.content} if method == "PUT" else {"json": {}}
        answer = running.call(stranger, method, route.format(job_id=job_id, name=name), **body)
        text = answer.text.replace(job_id, "ID").replace(name, "NAME")
        return answer.status_code, text, sorted(answer.headers)

    if "{job_id}" in route:
        assert ask(job, "-") == ask("0" * 32, "-")
        assert ask(job, "-")[0] == 404
        assert ask(waiting, "-") == ask("0" * 32, "-")
    else:
        assert ask("-", "default") == ask("-", "unknown")
        assert ask("-", "default")[0] == (200 if method == "PUT" else 404)  # by now its own
    assert before.items() <= running.held().items()


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
@pytest.mark.parametrize("name", ["nlp/default", "nlp%2Fdefault", "nlp%252Fdefault", "../nlp/default"])
def test_a_team_in_the_name_leads_nowhere(method: str, name: str, running: Service) -> None:
    running.finish("nlp")
    before = running.held()
    state = running.call("nlp", "GET", "/directions/default/state").content
    for path in (f"/directions/{name}", f"/directions/{name}/state"):
        answer = running.call("nobody", method, path, content=state)
        assert answer.status_code in (404, 405, 422)
    assert running.held() == before


def test_tokens_of_one_team_share_its_jobs_and_directions(running: Service) -> None:
    for one, other in (("nlp", "nlp-2"), ("nobody", "nobody-2")):
        job = running.finish(one, direction="shared", retain=True)
        for path in ("/directions", "/directions/shared", "/directions/shared/history", "/jobs", f"/jobs/{job}"):
            assert running.call(one, "GET", path).json() == running.call(other, "GET", path).json()
        assert running.call(other, "GET", "/directions/shared/state").status_code == 200
        assert running.call(other, "POST", f"/jobs/{job}/rescore", json={}).status_code == 202
        assert running.call(other, "DELETE", f"/jobs/{running.submit(one)}").json()["status"] == "cancelled"
        assert running.call(other, "DELETE", "/directions/shared").status_code == 204


def test_one_name_in_two_teams_is_two_directions_and_shown_as_it_is(running: Service) -> None:
    languages = {"nlp": ["de"] * 3, "vision": ["fr"] * 2, "nobody": ["hi"]}
    jobs = {caller: running.finish(caller, languages=tags) for caller, tags in languages.items()}
    for caller, tags in languages.items():
        counts = {tags[0]: len(tags)}
        (row,) = running.call(caller, "GET", "/directions").json()
        assert (row["name"], row["version"], row["languages"]) == ("default", 1, counts)
        direction = running.call(caller, "GET", "/directions/default").json()
        assert (direction["name"], list(direction["languages"])) == ("default", [tags[0]])
        job = running.call(caller, "GET", f"/jobs/{jobs[caller]}").json()
        assert (job["direction"], job["result"]["direction"]["name"]) == ("default", "default")
        assert job["result"]["direction"]["languages"] == counts
        assert [row["id"] for row in running.call(caller, "GET", "/jobs").json()] == [jobs[caller]]
        (entry,) = running.call(caller, "GET", "/directions/default/history").json()
        assert (entry["version"], entry["job_id"]) == (1, jobs[caller])
        conflicts = running.call(caller, "GET", "/directions/default/conflicts").json()
        assert list(conflicts["languages"]) == [tags[0]]
    assert running.call("nlp", "DELETE", "/directions/default").status_code == 204
    assert [running.call(caller, "GET", "/directions").json() != [] for caller in languages] == [False, True, True]


def test_a_job_that_conflicts_with_its_direction_calls_it_by_its_plain_name(running: Service) -> None:
    job = running.finish("nlp", retain=True)
    running.call("nlp", "DELETE", "/directions/default")
    again = running.call("nlp", "POST", f"/jobs/{job}/rescore", json={}).json()["id"]
    settle(running.store, again)
    error = running.call("nlp", "GET", f"/jobs/{again}").json()["error"]
    assert (error["status"], error["detail"].startswith("direction 'default' was reset")) == (409, True)


def test_a_direction_moves_from_one_team_to_another_through_its_file(running: Service) -> None:
    running.finish("nlp", direction="moved")
    state = running.call("nlp", "GET", "/directions/moved/state")
    assert state.headers["content-disposition"] == 'attachment; filename="moved.safetensors"'
    assert b"nlp" not in state.content
    answer = running.call("vision", "PUT", "/directions/moved/state", content=state.content)
    assert (answer.status_code, answer.json()["name"]) == (201, "moved")
    for path in ("/directions", "/directions/moved"):
        assert running.call("vision", "GET", path).json() == running.call("nlp", "GET", path).json()


def test_an_idempotency_key_is_known_in_its_team_only(running: Service) -> None:
    jobs = {caller: running.submit(caller, key="k") for caller in CALLERS}
    assert jobs["nlp"] == jobs["nlp-2"]
    assert jobs["nobody"] == jobs["nobody-2"]
    assert len(set(jobs.values())) == 3
    other = running.submit("vision", languages=["hi"], key="another")
    # Another body under the key: a clash in the team that used it, and nowhere else.
    samples = {"samples": [{"language": "hi", "prompt": "q", "chosen": "c", "rejected": "r"}]}
    headers = {"Idempotency-Key": "another"}
    assert running.call("vision", "POST", "/filter", json=samples, headers=headers).status_code == 422
    assert running.call("nlp", "POST", "/filter", json=samples, headers=headers).json()["id"] != other


def test_the_keys_of_those_without_a_team_are_what_they_were_before_there_were_teams(running: Service) -> None:
    running.finish("nobody", direction="d")
    redis = running.store.redis
    assert redis.smembers("congrad:directions") == {b"d"}
    assert redis.exists("congrad:direction:d") == 1
    assert running.call("nobody", "GET", "/directions").json()[0]["name"] == "d"
