"""Whether there is room for two passes is asked before anything is sent."""

from typing import Any

import httpx
import pytest
from congrad import Client, NoRoomError
from congrad.contract import wire
from support.stub_service import VIEWS, StubService, sample

DIM = 16_384
OWN = 2 * DIM + 512
SERVED = wire.Checkpoint(
    name="policy",
    fingerprint="f00d",
    loss="sigmoid",
    beta=0.1,
    reference="policy",
    projection=wire.Projection(kind="kronecker", rank=128, dim=DIM, seed=0),
    target_modules=None,
    modules=1,
    coverage=1.0,
    shared_prompts=True,
    max_length=256,
    dtype="float32",
    devices=["cpu"],
    workers=1,
).model_dump()


def client_of(stub: StubService, room: dict[str, Any] | None) -> Client:
    """A client of a service with so much room."""

    def serve(request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/checkpoints":
                return httpx.Response(200, json=[SERVED])
            case "/queue":
                return httpx.Response(200, json=VIEWS["GET", "/queue"] | ({} if room is None else {"room": room}))
        return stub(request)

    return Client("http://stub", transport=httpx.MockTransport(serve))


ROOM = {"retained_bytes": OWN, "limit_bytes": 9 * OWN, "free_bytes": None}


@pytest.mark.parametrize(
    ("room", "bound"),
    [(ROOM, "CONGRAD_MAX_RETAINED_BYTES"), (ROOM | {"limit_bytes": 2**40, "free_bytes": 8 * OWN}, "maxmemory")],
)
def test_a_call_for_which_there_is_no_room_sends_nothing(room: dict[str, Any], bound: str) -> None:
    stub = StubService()
    with client_of(stub, room) as client:
        with pytest.raises(NoRoomError, match=rf"all 9 samples.*room for 0\.3 MiB.*{bound}"):
            client.filter(map(sample, range(9)), batch_size=4, two_pass=True)
        assert stub.requests == []
        assert len(client.filter(map(sample, range(9)), batch_size=4).decisions) == 9, "one pass keeps nothing"


def test_what_is_retained_may_be_of_the_same_call_under_its_key() -> None:
    with client_of(StubService(), ROOM) as client:
        found = client.filter(map(sample, range(9)), batch_size=4, two_pass=True, idempotency_key="mine")
    assert len(found.decisions) == 9


@pytest.mark.parametrize("room", [None, ROOM])
def test_what_two_passes_take_up_is_told(room: dict[str, Any] | None) -> None:
    with client_of(StubService(), room) as client:
        assert 8 * OWN < client.check_room(8) < 8 * (OWN + 2048)


def test_a_call_that_fails_frees_what_it_cannot_be_scored_with() -> None:
    freed = []

    def early(request: httpx.Request) -> httpx.Response | None:
        if request.method == "DELETE":
            freed.append(request.url.path)
        return httpx.Response(401) if b'"chosen":"4"' in request.content else None

    with client_of(StubService(before=early), ROOM) as client, pytest.raises(Exception, match="401"):
        client.filter(map(sample, range(5)), batch_size=2, concurrency=1, two_pass=True)
    assert freed[0] == "/jobs/job0"


def test_a_call_whose_scoring_fails_frees_what_it_has_kept_for_it() -> None:
    freed = []

    def early(request: httpx.Request) -> httpx.Response | None:
        if request.method == "DELETE":
            freed.append(request.url.path)
        return httpx.Response(401) if request.url.path == "/jobs/job1/rescore" else None

    with client_of(StubService(before=early), ROOM) as client, pytest.raises(Exception, match="401"):
        client.filter(map(sample, range(5)), batch_size=2, concurrency=1, two_pass=True)
    assert freed == ["/jobs/job0", "/jobs/job1", "/jobs/job2"]


def test_numbers_of_eight_bits_take_half_as_much_of_it() -> None:
    room = ROOM | {"limit_bytes": 6 * OWN, "store": "file", "bits": 8}
    with client_of(StubService(), room) as client:
        assert len(client.filter(map(sample, range(9)), batch_size=4, two_pass=True).decisions) == 9
        with pytest.raises(NoRoomError, match="CONGRAD_MAX_RETAINED_BYTES"):
            client.check_room(10)
