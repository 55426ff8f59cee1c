"""What a process has in memory is changed, put aside, put to sleep and woken: it computes the bits of a fresh start."""

import os
import shutil
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped] # one call is not worth a package of stubs
import pytest
import torch
from congrad.contract import wire
from congrad_worker.activity import Activity
from congrad_worker.checkpoints import checkpoint as checkpoint_module
from congrad_worker.checkpoints.checkpoint import Base, load_base
from congrad_worker.checkpoints.files import CheckpointFiles, locate, relocate
from congrad_worker.errors import CheckpointError, NothingServedError
from congrad_worker.serving import resident as resident_module
from congrad_worker.serving import weights
from congrad_worker.serving.resident import Resident
from congrad_worker.serving.served import Served, serve
from congrad_worker.settings import GradientSettings
from congrad_worker.tasks.store import Store
from peft import KasaConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from support.models import save_small_llama, settings
from support.pairs import demo_samples, samples
from transformers import LlamaConfig, LlamaForCausalLM

ROWS = samples(demo_samples("de", "ja", each=2))


def nothing(_: str) -> None:
    """Nobody is told how far it is."""


def save_adapter(model: Path, folder: Path, seed: int, **options: object) -> Path:
    """A random LoRA adapter on a model."""
    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False, **options)  # type: ignore[arg-type]
    get_peft_model(LlamaForCausalLM.from_pretrained(model), config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models and adapters on the first."""
    folder = tmp_path_factory.mktemp("models")
    first = save_small_llama(folder / "first")
    save_small_llama(folder / "second", seed=1)
    save_adapter(first, folder / "one", 1)
    save_adapter(first, folder / "two", 2, use_dora=True)
    return folder


@pytest.fixture
def own(models: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def bare_store(redis_url: str) -> Iterator[Store]:
    store = Store(settings(Path("unused"), redis_url=redis_url))
    yield store
    store.redis.close()


def wanted(folder: Path, model: str = "first", adapter: str | None = None) -> GradientSettings:
    return settings(folder / model, adapter=None if adapter is None else str(folder / adapter))


def bits(served: Served) -> np.ndarray:
    """The gradients of some pairs, float32 ``[pairs, D]``."""
    (result,) = served.processor.compute([list(ROWS)])
    assert result.samples.norms.all()
    values: np.ndarray = result.samples.units.astype(np.float32) * result.samples.norms[:, None]
    return values


def now(resident: Resident) -> np.ndarray:
    with resident.at_work() as served:
        return bits(served)


def fresh(asked: GradientSettings, store: Store) -> tuple[CheckpointFiles, np.ndarray]:
    """A start on what was asked for, with nothing before it."""
    files = locate(asked)
    return files, bits(serve(load_base(files, asked), files, asked, store, Activity()))


def replace(resident: Resident, asked: GradientSettings) -> None:
    """As a publication of an adapter does."""
    resident.replace(relocate(resident.identity.files, asked), asked, nothing)


def start(folder: Path, store: Store, adapter: str | None = None) -> Resident:
    first = wanted(folder, adapter=adapter)
    return Resident(store, locate(first), first)


def test_an_adapter_goes_onto_the_base_in_memory_and_none_of_its_files_is_read_again(
    own: Path, bare_store: Store
) -> None:
    chain = [None, "one", "two", "one", None, "two"]
    expected = {name: fresh(wanted(own, adapter=name), bare_store) for name in set(chain)}
    resident = start(own, bare_store)
    shutil.rmtree(own / "first")
    for name in chain:
        replace(resident, wanted(own, adapter=name))
        files, gradients = expected[name]
        assert resident.identity.fingerprint == files.fingerprint
        assert resident.identity.files.name == files.name
        np.testing.assert_array_equal(now(resident), gradients)


@pytest.mark.parametrize(
    "options",
    [
        {"modules_to_save": ["embed_tokens"]},
        {"layer_replication": [[0, 2], [1, 2]]},
        pytest.param({"modules_to_save": ["lm_head"]}, marks=pytest.mark.slow),
        pytest.param({"kasa_config": KasaConfig()}, marks=pytest.mark.slow),
        pytest.param({}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # here that is what is tried
def test_an_adapter_that_changes_more_than_it_adds_leaves_nothing_to_the_next_one(
    options: Any, own: Path, bare_store: Store
) -> None:
    """The last one has other embeddings than its base, as PEFT saves them where they were made longer."""
    save_adapter(own / "first", own / "changing", 3, **options)
    file = own / "changing" / "adapter_model.safetensors"
    held = {name: values + 0.5 if ".lora_" not in name else values for name, values in load_file(file).items()}
    if not options:
        held["base_model.model.model.embed_tokens.weight"] = load_file(own / "first" / "model.safetensors")[
            "model.embed_tokens.weight"
        ].neg()
    save_file(held, file, {"format": "pt"})
    expected = {name: fresh(wanted(own, adapter=name), bare_store)[1] for name in ("changing", "one", None)}
    resident = start(own, bare_store)
    for name in ("changing", "one", "changing", None):
        replace(resident, wanted(own, adapter=name))
        np.testing.assert_array_equal(now(resident), expected[name])


def test_another_model_takes_the_whole_place(models: Path, bare_store: Store) -> None:
    resident = start(models, bare_store, "one")
    asked = wanted(models, "second")
    files, gradients = fresh(asked, bare_store)
    resident.replace(files, asked, nothing)
    np.testing.assert_array_equal(now(resident), gradients)
    assert resident.identity.fingerprint == files.fingerprint


@pytest.mark.parametrize("fault", ["a weight is missing", "a layer has another size", "it is changed meanwhile"])
def test_what_cannot_be_served_leaves_what_was_there_to_the_last_bit(fault: str, own: Path, bare_store: Store) -> None:
    resident = start(own, bare_store, "one")
    before = now(resident)
    file = own / "two" / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(iter(weights))
    if fault == "a weight is missing":
        del weights[name]
    elif fault == "a layer has another size":
        weights[name] = torch.zeros(1, 1)
    asked = wanted(own, adapter="two")
    if fault == "it is changed meanwhile":
        located = relocate(resident.identity.files, asked)
        save_file({key: value * 2 for key, value in weights.items()}, file)
    else:
        save_file(weights, file)
        located = relocate(resident.identity.files, asked)
    with pytest.raises(CheckpointError):
        resident.replace(located, asked, nothing)
    np.testing.assert_array_equal(now(resident), before)
    replace(resident, wanted(own))  # and it still changes
    np.testing.assert_array_equal(now(resident), fresh(wanted(own), bare_store)[1])


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(own: Path, bare_store: Store) -> None:
    resident = start(own, bare_store, "one")
    before = now(resident)
    file = own / "second" / "model.safetensors"
    save_file({key: value for key, value in load_file(file).items() if "layers.1" not in key}, file, {"format": "pt"})
    asked = wanted(own, "second")
    with pytest.raises(CheckpointError, match="without which LlamaForCausalLM would be random"):
        resident.replace(locate(asked), asked, nothing)
    np.testing.assert_array_equal(now(resident), before)
    shutil.rmtree(own / "first")
    with pytest.raises(NothingServedError, match="cannot be had again"):
        resident.replace(locate(asked), asked, nothing)


@pytest.mark.parametrize("is_rewritten", [False, True])
def test_an_adapter_in_the_folder_of_its_base_leaves_the_base_that_is_in_memory(
    is_rewritten: bool, own: Path, bare_store: Store
) -> None:
    """As where a run that trains an adapter writes to where one that trained the whole model did."""
    resident = start(own, bare_store)
    before = now(resident)
    save_adapter(own / "first", own / "first", 3)
    if is_rewritten:
        os.utime(own / "first" / "config.json")
    with pytest.raises(CheckpointError, match="an adapter needs a folder of its own"):
        replace(resident, wanted(own, adapter="first"))
    np.testing.assert_array_equal(now(resident), before)


def test_what_was_changed_before_it_is_loaded_takes_the_place_of_nothing(own: Path, bare_store: Store) -> None:
    resident = start(own, bare_store)
    before = now(resident)
    asked = wanted(own, "second")
    files = locate(asked)
    os.utime(own / "second" / "config.json")
    shutil.rmtree(own / "first")
    with pytest.raises(CheckpointError, match=r"config\.json was changed after it was looked at"):
        resident.replace(files, asked, nothing)
    np.testing.assert_array_equal(now(resident), before)


def test_a_base_that_an_adapter_was_put_beside_does_not_wake_up_with_it(own: Path, bare_store: Store) -> None:
    resident = start(own, bare_store)
    resident.sleep("discard")
    save_adapter(own / "second", own / "first", 3)
    with pytest.raises(CheckpointError, match="put into the model's own folder"):
        resident.wake()


def test_what_was_served_before_is_served_once_more_without_its_files(own: Path, bare_store: Store) -> None:
    resident = start(own, bare_store, "one")
    first, old = resident.identity.files, now(resident)
    replace(resident, wanted(own, adapter="two"))
    new = now(resident)
    shutil.rmtree(own / "one")
    with resident.back_to(first, wanted(own, adapter="one")) as served:
        assert served.identity.fingerprint == first.fingerprint
        np.testing.assert_array_equal(bits(served), old)
    np.testing.assert_array_equal(now(resident), new)


@pytest.mark.parametrize("model", ["first", "second"])
def test_what_was_served_before_is_read_again_where_nothing_of_it_is_left(
    model: str, models: Path, bare_store: Store
) -> None:
    resident = start(models, bare_store, "one")
    first, old = resident.identity.files, now(resident)
    asked = wanted(models, model, "two" if model == "first" else None)
    resident.replace(locate(asked), asked, nothing)
    resident.forget_aside()
    new = now(resident)
    with resident.back_to(first, wanted(models, adapter="one")) as served:
        np.testing.assert_array_equal(bits(served), old)
    np.testing.assert_array_equal(now(resident), new)


@pytest.mark.parametrize("model", ["first", "second"])
def test_what_was_served_before_the_last_is_served_once_more_beside_that(
    model: str, models: Path, bare_store: Store
) -> None:
    chain = [wanted(models, model), wanted(models, adapter="one"), wanted(models, adapter="two")]
    resident = Resident(bare_store, locate(chain[0]), chain[0])
    before = [(resident.identity.files, now(resident))]
    for asked in chain[1:]:
        resident.replace(locate(asked), asked, nothing)
        before.append((resident.identity.files, now(resident)))
    for number in (1, 0, 1, 0):
        files, gradients = before[number]
        with resident.back_to(files, chain[number]) as served:
            np.testing.assert_array_equal(bits(served), gradients)
        np.testing.assert_array_equal(now(resident), before[-1][1])


@pytest.mark.parametrize("adapter", [None, "one"])
def test_what_was_asleep_computes_the_same_bits(adapter: str | None, models: Path, bare_store: Store) -> None:
    resident = start(models, bare_store, adapter)
    before = now(resident)
    for level in ("offload", "discard", "offload"):
        resident.sleep(level)
        assert resident.asleep == level
        np.testing.assert_array_equal(now(resident), before)  # work wakes
        assert resident.asleep is None
    resident.sleep("offload")
    resident.sleep("discard")
    assert resident.asleep == "discard"
    resident.sleep("offload")
    assert resident.asleep == "discard"
    resident.wake()
    np.testing.assert_array_equal(now(resident), before)


def no_room(*_: object) -> None:
    raise torch.OutOfMemoryError("out of memory")


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever memory is given back."""
    calls: list[str] = []
    real = weights.give_memory_back

    def counted() -> None:
        calls.append("back")
        real()

    for module in (weights, resident_module):
        monkeypatch.setattr(module, "give_memory_back", counted)
    return calls


@pytest.mark.parametrize(
    ("level", "step"), [("offload", "put_back"), ("offload", "ready"), ("discard", "load_base"), ("discard", "serve")]
)
def test_what_finds_no_room_to_wake_up_gives_back_what_it_took_and_sleeps_on(
    level: wire.SleepLevel,
    step: str,
    models: Path,
    bare_store: Store,
    given_back: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resident = start(models, bare_store, "one")
    before = now(resident)
    resident.sleep(level)
    given_back.clear()
    with monkeypatch.context() as short:
        short.setattr(resident_module, step, no_room)
        with pytest.raises(torch.OutOfMemoryError):
            resident.wake()
        assert given_back
        assert resident.asleep == level
    np.testing.assert_array_equal(now(resident), before)


def test_what_finds_no_room_for_its_engine_has_its_weights_on_the_host_again(
    models: Path, bare_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = start(models, bare_store)
    with resident.at_work() as served:
        weight = next(served.checkpoint.model.parameters())
    # A CPU's weights are on the host already: this one says that it was somewhere else.
    monkeypatch.setattr(resident_module, "offload", lambda _: [(weight, torch.device("meta"))])
    resident.sleep("offload")
    on_the_host = weight.data_ptr()
    monkeypatch.setattr(resident_module, "ready", no_room)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_: self.clone())
    with pytest.raises(torch.OutOfMemoryError):
        resident.wake()
    assert weight.data_ptr() == on_the_host


def test_weights_that_the_host_has_no_room_for_are_dropped_and_read_again(
    models: Path, bare_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = start(models, bare_store, "one")
    before = now(resident)
    monkeypatch.setattr(resident_module, "offload", no_room)
    resident.sleep("offload")
    assert resident.asleep == "discard"
    np.testing.assert_array_equal(now(resident), before)


def test_what_is_broken_off_while_it_goes_to_sleep_is_awake(
    models: Path, bare_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    resident = start(models, bare_store)
    before = now(resident)
    monkeypatch.setattr(resident_module, "offload", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resident.sleep("offload")
    assert resident.asleep is None
    np.testing.assert_array_equal(now(resident), before)


def test_two_models_are_never_in_memory_at_once(
    models: Path, bare_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = start(models, bare_store)
    second = wanted(models, "second")
    held: list[int] = []

    def looked_at(files: CheckpointFiles, asked: GradientSettings) -> Base:
        held.append(len(list(model.parameters())))
        return load_base(files, asked)

    with resident.back_to(locate(second), second) as served:
        model = served.checkpoint.model
        monkeypatch.setattr(resident_module, "load_base", looked_at)
    assert held == [0]


def test_a_model_that_cannot_be_served_is_gone_before_the_old_one_is_loaded_again(
    models: Path, bare_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = start(models, bare_store)
    before, second = now(resident), wanted(models, "second")
    loaded: list[weakref.ref[Any]] = []
    held: list[int] = []

    def looked_at(files: CheckpointFiles, asked: GradientSettings) -> Base:
        held.append(sum(model() is not None for model in loaded))
        base = load_base(files, asked)
        loaded.append(weakref.ref(base.model))
        return base

    def refused(base: Base, files: CheckpointFiles, *more: Any) -> Served:
        if files.fingerprint == locate(second).fingerprint:
            raise CheckpointError("its gradients are wrong")
        return serve(base, files, *more)

    monkeypatch.setattr(resident_module, "load_base", looked_at)
    monkeypatch.setattr(resident_module, "serve", refused)
    with pytest.raises(CheckpointError, match="gradients are wrong"):
        resident.replace(locate(second), second, nothing)
    assert held == [0, 0]
    np.testing.assert_array_equal(now(resident), before)


def test_a_checkpoint_that_finds_no_room_to_wake_up_may_find_some_later(
    models: Path, bare_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails while a checkpoint is loaded is told of as its own fault, and this is none."""
    resident = start(models, bare_store)
    before = now(resident)
    resident.sleep("discard")
    with monkeypatch.context() as short:
        short.setattr(checkpoint_module, "_load_model", no_room)
        with pytest.raises(torch.OutOfMemoryError):
            resident.wake()
    assert resident.asleep == "discard"
    np.testing.assert_array_equal(now(resident), before)


def test_what_sleeps_without_its_weights_does_not_wake_with_others(own: Path, bare_store: Store) -> None:
    resident = start(own, bare_store, "one")
    resident.sleep("discard")
    file = own / "one" / "adapter_model.safetensors"
    save_file({key: value * 2 for key, value in load_file(file).items()}, file)
    with pytest.raises(CheckpointError, match="was changed after it was looked at"):
        resident.wake()


@pytest.mark.parametrize("is_overwritten", [False, True])
def test_an_adapter_takes_the_place_of_one_that_sleeps_without_its_weights_and_is_gone(
    is_overwritten: bool, own: Path, bare_store: Store
) -> None:
    """As a trainer deletes the last round's, or writes this one's to where that was."""
    files, gradients = fresh(wanted(own, adapter="two"), bare_store)
    resident = start(own, bare_store, "one")
    resident.sleep("discard")
    shutil.rmtree(own / "one")
    if is_overwritten:
        (own / "two").rename(own / "one")
    replace(resident, wanted(own, adapter="one" if is_overwritten else "two"))
    assert resident.identity.fingerprint == files.fingerprint
    np.testing.assert_array_equal(now(resident), gradients)


def test_what_cannot_be_woken_is_not_told_of_as_what_came_late(own: Path, bare_store: Store) -> None:
    resident = start(own, bare_store, "one")
    first = resident.identity.files
    replace(resident, wanted(own, adapter="two"))
    resident.sleep("discard")
    shutil.rmtree(own / "two")
    with pytest.raises(NothingServedError, match="first\\+two"), resident.back_to(first, wanted(own, adapter="one")):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="memory goes back to the system as glibc has it")
def test_what_sleeps_without_its_weights_takes_up_less_memory_by_as_much(tmp_path: Path, bare_store: Store) -> None:
    save_small_llama(tmp_path / "model")
    config = LlamaConfig.from_pretrained(tmp_path / "model")
    config.update({"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4})
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    asked = settings(tmp_path / "model", max_length=64, target_modules=r"layers\.3\..*o_proj", projection_dim=256)
    resident = Resident(bare_store, locate(asked), asked)
    before = now(resident)
    weights = (tmp_path / "model" / "model.safetensors").stat().st_size
    awake = psutil.Process().memory_info().rss
    resident.sleep("discard")
    assert psutil.Process().memory_info().rss <= awake - 0.95 * weights
    np.testing.assert_array_equal(now(resident), before)


def test_layers_are_checkpointed_once_however_often_their_adapter_changes(models: Path, bare_store: Store) -> None:
    asked = wanted(models).model_copy(update={"gradient_checkpointing": True})
    resident = Resident(bare_store, locate(asked), asked)
    for name in ("one", "two", "one"):
        replace(resident, asked.model_copy(update={"adapter": str(models / name)}))
    with resident.at_work() as served:
        modules = served.checkpoint.model.modules()
        layer: Any = next(module for module in modules if type(module).__name__.endswith("Layer"))
        assert type(layer.forward.args[0]).__name__ == "method"
