"""What a worker serves that is started again: what was announced last in the place of its own checkpoint, or that."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from congrad_service.queue.publication import Successor
from congrad_worker.checkpoints.files import locate
from congrad_worker.serving import start
from congrad_worker.serving.desk import Desk
from congrad_worker.serving.start import Beginning, beginning
from congrad_worker.settings import GradientSettings
from congrad_worker.tasks.store import Store
from redis.exceptions import AuthenticationError, BusyLoadingError, ConnectionError, TimeoutError
from support.adapters import save_adapter
from support.models import settings


@pytest.fixture
def desk(redis_url: str) -> Iterator[Desk]:
    store = Store(settings(Path("unused"), redis_url=redis_url))
    yield Desk(store)
    store.redis.close()


@pytest.fixture
def own(small_llama: Path) -> GradientSettings:
    return settings(small_llama)


@pytest.fixture
def adapted(small_llama: Path, tmp_path: Path) -> GradientSettings:
    return settings(small_llama, adapter=str(save_adapter(small_llama, tmp_path / "adapter")))


def successor(of: GradientSettings, previous: Successor | None = None, created: float = 0.0) -> Successor:
    found = locate(of)
    return Successor(
        fingerprint=found.fingerprint, model=of.model, adapter=of.adapter, created=created, previous=previous
    )


def served(begun: Beginning) -> tuple[str, str | None]:
    """The fingerprint of what is served, and of what was before."""
    return begun.files.fingerprint, begun.previous.fingerprint if begun.previous is not None else None


def test_a_worker_serves_what_its_settings_name_until_that_is_replaced(desk: Desk, own: GradientSettings) -> None:
    begun = beginning(desk, own)
    assert served(begun) == (locate(own).fingerprint, None)
    assert begun.settings == own


def test_a_worker_comes_back_with_what_was_announced(
    desk: Desk, own: GradientSettings, adapted: GradientSettings
) -> None:
    first, second = locate(own).fingerprint, locate(adapted).fingerprint
    desk.succeed(first, successor(adapted, successor(own)))
    begun = beginning(desk, own)
    assert served(begun) == (second, first)
    assert (begun.settings.adapter, begun.origin.fingerprint) == (adapted.adapter, first)
    assert begun.previous is not None
    assert begun.previous.located().fingerprint == first
    # Its own one is published again: that is what it comes back with, and the other one is what was before.
    desk.succeed(first, successor(own, successor(adapted)))
    assert served(beginning(desk, own)) == (first, second)


def test_what_is_published_again_by_others_is_served_by_those_whose_own_it_is(
    desk: Desk, own: GradientSettings, adapted: GradientSettings
) -> None:
    first, second = locate(own).fingerprint, locate(adapted).fingerprint
    desk.succeed(first, successor(adapted))
    desk.succeed(second, successor(own))  # by workers that were started on the other one
    assert served(beginning(desk, own)) == (first, None)
    assert served(beginning(desk, adapted)) == (first, None)


def test_what_a_late_worker_announces_takes_the_place_of_nothing_newer(
    desk: Desk, own: GradientSettings, adapted: GradientSettings
) -> None:
    first, second = locate(own).fingerprint, locate(adapted).fingerprint
    desk.succeed(first, successor(adapted))  # by an earlier release
    desk.succeed(first, successor(own, successor(adapted), created=2.5))
    desk.succeed(first, successor(adapted, successor(own), created=1.5))
    assert served(beginning(desk, own)) == (first, second)
    desk.succeed(second, successor(own, created=2.5))
    desk.succeed(first, successor(adapted, created=1.5))
    assert served(beginning(desk, adapted)) == (first, None)
    desk.succeed(first, successor(adapted, successor(own), created=3.5))
    assert served(beginning(desk, own)) == (second, first)
    assert served(beginning(desk, adapted)) == (second, None)


@pytest.mark.parametrize("fault", ["gone", "others"])
def test_a_worker_comes_back_with_its_own_where_the_files_of_the_other_are_not_what_they_were(
    fault: str, desk: Desk, own: GradientSettings, adapted: GradientSettings, small_llama: Path
) -> None:
    desk.succeed(locate(own).fingerprint, successor(adapted))
    folder = Path(str(adapted.adapter))
    if fault == "gone":
        shutil.rmtree(folder)
    else:
        save_adapter(small_llama, folder, seed=1)
    assert served(beginning(desk, own)) == (locate(own).fingerprint, None)


@pytest.mark.parametrize("away", [ConnectionError("refused"), TimeoutError("silent"), BusyLoadingError("loading")])
def test_a_redis_that_is_away_is_waited_for(
    away: Exception, desk: Desk, own: GradientSettings, adapted: GradientSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that started before Redis ended as for a wrong setting, after which systemd leaves it down."""
    desk.succeed(locate(own).fingerprint, successor(adapted))
    ask, refusals = desk.successor, iter([away, away])

    def answer(fingerprint: str) -> Successor | None:
        for refusal in refusals:
            raise refusal
        return ask(fingerprint)

    monkeypatch.setattr(desk, "successor", answer)
    monkeypatch.setattr(start, "PAUSE_S", 0.01)
    assert served(beginning(desk, own))[0] == locate(adapted).fingerprint


def test_a_password_that_redis_refuses_is_not_waited_with(
    desk: Desk, own: GradientSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> Successor | None:
        raise AuthenticationError("invalid username-password pair")

    monkeypatch.setattr(desk, "successor", refuse)
    with pytest.raises(AuthenticationError):
        beginning(desk, own)
