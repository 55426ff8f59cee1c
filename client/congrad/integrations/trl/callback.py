"""A trainer whose policy moves, and with it what its pairs pull at: they are scored again on the way."""

import json
import logging
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from datasets import Dataset
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from congrad.client import Client
from congrad.contract import wire
from congrad.errors import APIConnectionError, APITimeoutError, CongradError
from congrad.integrations.trl.filtering import KEEP, Language, check_client, filter_dataset
from congrad.integrations.trl.processes import once
from congrad.integrations.trl.record import Record, Scored
from congrad.integrations.trl.sampler import KeptRows
from congrad.protocol.answers.classify import is_unavailable
from congrad.protocol.options import FilterOptions

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainingArguments
    from trl.trainer.dpo_trainer import DPOTrainer

ADAPTER = "adapter_config.json"
"""The file that makes a saved folder an adapter and no whole model."""

TOKENS = ("prompt_ids", "chosen_ids", "rejected_ids")
"""What `DPOTrainer` adds to its rows."""

log = logging.getLogger("congrad")


class FilterCallback(TrainerCallback):
    """Trains a `DPOTrainer` on what its policy of the moment keeps of its dataset.

    trainer = DPOTrainer(model, args=config, train_dataset=pairs, peft_config=lora)
    trainer.add_callback(FilterCallback(trainer, client))
    trainer.train()

    Before the first step and then every so often the adapter (without one, the model) is saved and published to the
    workers, the whole dataset is scored against it, in a direction of its own, and the trainer draws from what is kept.
    An epoch is as long as what was kept at first. Under ``accelerate launch`` the main process asks, and all of them
    draw from the same rows. What is kept goes into the checkpoints that the trainer saves, so that
    ``trainer.train(resume_from_checkpoint=...)`` draws what an uninterrupted run draws.

    A service that is away is waited for, as by `Client.filter`. Where it stays away, the training ends with an error;
    with ``on_unavailable="keep"`` all rows are kept until pairs are scored the next time.

    The token's role is ``admin``, and the service allows the folder (``CONGRAD_MODELS``), which the workers see under
    the same path.

    :param trainer: it has a `datasets.Dataset` with a column of languages.
    :param every: ``epoch``, or a number of steps.
    :param folder: where adapters go, and the latest stays; default: ``congrad`` in the trainer's ``output_dir``.
    :param replaces: name or fingerprint of the checkpoint whose workers take what is published; not needed where they
        serve one only.
    :param language: as in `filter_dataset`.
    :param sleep: workers give their device's memory back while the trainer steps, so that both fit on one.
    :param options: what `Client.filter` takes beside the samples; ``direction`` is what the names begin with,
        ``trl`` unless it is given.
    :raises ValueError: ``every`` is neither.
    :raises TypeError: the trainer's dataset is a stream, whose rows cannot be chosen from; or the client is another; or
        an option is none of `Client.filter`.
    """

    def __init__(
        self,
        trainer: "DPOTrainer",
        client: Client,
        *,
        every: int | Literal["epoch"] = "epoch",
        folder: str | Path | None = None,
        replaces: str | None = None,
        language: Language = None,
        sleep: bool = False,
        **options: Unpack[FilterOptions],
    ):
        check_client(client)
        if unknown := sorted(options.keys() - FilterOptions.__annotations__.keys()):  # not after a policy was published
            raise TypeError(f"FilterCallback() got an unexpected keyword argument {unknown[0]!r}")
        if every != "epoch" and (not isinstance(every, int) or every < 1):
            raise ValueError(f"every is {every!r}; it should be 'epoch', or a number of steps")
        if not isinstance(rows := trainer.train_dataset, Dataset):
            raise TypeError(f"the trainer's dataset is {type(rows).__name__}, not a Dataset, and cannot be chosen from")
        self._trainer: Any = trainer  # TRL's types do not say what it has of transformers' trainer
        self._client = client
        self._every = every
        self._folder = Path(folder or Path(str(self._trainer.args.output_dir)) / "congrad").absolute()
        self._replaces = replaces
        self._language = language
        self._sleeps = sleep
        self._options = options
        self._sampler: KeptRows | None = None
        self.history: list[Scored] = []
        self._resumed: Path | None = None
        self._is_away = False
        self._unanswered: tuple[Path, str | None] | None = None  # what was published, in whose place, if it was
        self._trainer._get_train_sampler = self._new_sampler  # type: ignore[method-assign,assignment] # a seam
        self._trainer._inner_training_loop = self._told_of_resuming(  # type: ignore[method-assign] # another
            self._trainer._inner_training_loop
        )

    @property
    def checkpoint(self) -> str | None:
        """The fingerprint of the policy as it was published last; None before the first time."""
        published = (scored.fingerprint for scored in reversed(self.history))
        return next((fingerprint for fingerprint in published if fingerprint is not None), None)

    def on_epoch_begin(
        self,
        args: "TrainingArguments",  # noqa: ARG002 # as transformers names it
        state: TrainerState,
        control: "TrainerControl",  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Says which one it is: in an epoch that several processes resume, accelerate does not."""
        if self._sampler is not None:
            self._sampler.set_epoch(int(state.epoch or 0))

    def on_save(
        self,
        args: "TrainingArguments",
        state: TrainerState,
        control: "TrainerControl",  # noqa: ARG002 # as transformers names it
        **_: Any,
    ) -> None:
        """Puts what is kept beside the checkpoint."""
        folder = Path(str(args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        if self._sampler is not None and state.is_world_process_zero and folder.is_dir():
            Record(self.history, len(self._sampler), self._sampler.drawn).write(folder)

    def on_step_end(
        self,
        args: "TrainingArguments",  # noqa: ARG002 # as transformers names it
        state: TrainerState,
        control: "TrainerControl",
        **_: Any,
    ) -> None:
        """Scores again, where it is time."""
        if self._every != "epoch" and state.global_step % self._every == 0:
            self._score_again(state, control)

    def on_epoch_end(
        self,
        args: "TrainingArguments",  # noqa: ARG002 # as transformers names it
        state: TrainerState,
        control: "TrainerControl",
        **_: Any,
    ) -> None:
        """Scores again for the next one."""
        if self._every == "epoch":
            self._score_again(state, control)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Leaves the workers awake."""
        if self._sleeps and self._trainer.accelerator.is_main_process:
            self._tell(lambda: self._client.workers.wake(self._served()))

    def _told_of_resuming(self, loop: Any) -> Any:
        """The trainer's loop, which alone is told before it asks for a sampler."""

        @wraps(loop)
        def told(*args: Any, **options: Any) -> Any:
            folder = options.get("resume_from_checkpoint")
            self._resumed = None if folder is None else Path(folder)
            return loop(*args, **options)

        return told

    def _new_sampler(self, _: Any = None) -> KeptRows:
        """In place of the trainer's own, before it counts the steps of an epoch."""
        seed = self._trainer.args.seed
        found = None if self._resumed is None else self._recorded(self._resumed)
        if found is None:
            self._sampler = KeptRows(self._scored(self._trainer.state.global_step).keep, seed)
        else:
            self.history = list(found.history)
            self._sampler = KeptRows(self.history[-1].keep, seed, found.length, found.drawn)
            self._score_where_missed()
        return self._sampler

    def _recorded(self, folder: Path) -> Record | None:
        rows = len(self._trainer.train_dataset)
        found = once(self._trainer.accelerator, lambda: Record.read(folder, rows))
        if found is None:
            log.warning(
                "%s does not say what was kept: an epoch becomes as long as what its policy keeps, and so the trainer "
                "may take another number of steps than without the interruption",
                folder,
            )
        return found

    def _score_where_missed(self) -> None:
        """A checkpoint of an epoch's last step is saved before its end, where the pairs are scored for the next one."""
        state = TrainerState.load_from_json(str(Path(str(self._resumed), TRAINER_STATE_NAME)))
        is_at_end = self._every == "epoch" and state.epoch == int(state.epoch or 0)
        if is_at_end and self.history[-1].step < state.global_step and self._sampler is not None:
            self._sampler.replace(self._scored(state.global_step).keep)
        elif self._sleeps and self._trainer.accelerator.is_main_process:
            self._tell(lambda: self._client.workers.sleep(self._served()))

    def _score_again(self, state: TrainerState, control: "TrainerControl") -> None:
        if self._sampler is not None and state.global_step < state.max_steps and not control.should_training_stop:
            self._sampler.replace(self._scored(state.global_step).keep)

    def _scored(self, step: int) -> Scored:
        folder = self._folder / f"step-{step}"
        accelerator = self._trainer.accelerator
        if accelerator.is_main_process:  # an earlier run's adapter would be taken for what this one saves beside it
            shutil.rmtree(folder, ignore_errors=True)
        accelerator.wait_for_everyone()
        self._trainer.save_model(str(folder), _internal_call=True)  # by all: they may have a part of it each
        accelerator.wait_for_everyone()
        if self._sleeps:
            _give_memory_back()
        scored = once(accelerator, lambda: self._ask(step, folder))
        self.history.append(scored)
        return scored

    def _ask(self, step: int, folder: Path) -> Scored:
        """In the main process."""
        rows = self._trainer.train_dataset
        try:
            served = self._published(folder)
        except CongradError as error:
            if not self._goes_on_without(error):
                raise
            log.warning("step %d: %s; all %d pairs are kept", step, error, len(rows))
            return Scored(step, None, [True] * len(rows))
        rows = rows.select_columns([name for name in rows.column_names if name not in TOKENS])
        options: FilterOptions = {
            **self._options,
            "checkpoint": served.fingerprint,
            "direction": f"{self._options.get('direction', 'trl')}-{served.fingerprint}",
        }
        filtered = filter_dataset(rows, self._client, self._language, **options)
        scored = Scored(step, served.fingerprint, filtered[KEEP][:])
        log.info("step %d: %d of %d pairs are kept by %s", step, scored.kept, len(scored.keep), served.fingerprint)
        for earlier in {self._folder / f"step-{one.step}" for one in self.history} - {folder}:
            shutil.rmtree(earlier, ignore_errors=True)
        if self._sleeps:
            self._tell(lambda: self._client.workers.sleep(served.fingerprint))
        return scored

    def _published(self, folder: Path) -> wire.Checkpoint:
        """What was saved, once it is served.

        :raises CongradError: it cannot be.
        """
        self._wait_for_service()
        served = self._publish(folder, self._served())
        if (folder / ADAPTER).exists() and self.checkpoint is None:
            _warn_of_another_base(folder, served.name)
        return served

    def _publish(self, folder: Path, replaces: str | None) -> wire.Checkpoint:
        is_adapter = (folder / ADAPTER).exists()
        try:
            served = self._client.checkpoints.publish(
                model=None if is_adapter else folder, adapter=folder if is_adapter else None, replaces=replaces
            )
        except CongradError as error:
            self._unanswered = (folder, replaces) if is_unavailable(error) else None
            raise
        self._unanswered = None
        return served

    def _wait_for_service(self) -> None:
        """A restart of it is no error to a training run. One that was waited for in vain is not waited for again before
        it is ready: a trainer that scores after a few steps would stand still each time.

        :raises APIConnectionError: it is still away, and the training goes on without.
        """
        if self._is_away and not self._client.is_ready():
            # One that is silent answers no other question either, and each of them lasts as long as its attempts.
            error = APIConnectionError("the service is still away")
            if self._goes_on_without(error):
                raise error
            return
        try:
            self._client.wait_until_ready(self._client._policy.max_downtime)
            self._is_away = False
        except APITimeoutError:  # publishing says what is wrong
            self._is_away = True

    def _tell(self, order: Callable[[], None]) -> None:
        """Has workers sleep or wake. What is scored and trained does not depend on that."""
        try:
            self._wait_for_service()
            order()
        except CongradError as error:
            if not self._goes_on_without(error):
                raise
            log.warning("workers were not told to sleep or to wake: %s", error)

    def _goes_on_without(self, error: CongradError) -> bool:
        """Whether the training does not need what failed."""
        return self._options.get("on_unavailable") == "keep" and is_unavailable(error)

    def _served(self) -> str | None:
        """What the workers serve that are this run's: a run that resumes may find some that were started anew."""
        live = [one for one in self._client.checkpoints() if one.workers]
        own = [one for one in live if one.fingerprint == self.checkpoint]
        own = own or [one for one in live if self._replaces in (None, one.name, one.fingerprint)]
        if self._unanswered is not None and all(_is_being_replaced(one) for one in own):
            # It has come, though nobody heard so: asked once more, it is the same publication.
            return self._publish(*self._unanswered).fingerprint
        return own[0].fingerprint if len(own) == 1 else self._replaces


def _is_being_replaced(checkpoint: wire.Checkpoint) -> bool:
    publication = checkpoint.publication
    return publication is not None and publication.status is not wire.PublicationStatus.FAILED


def _warn_of_another_base(folder: Path, served: str) -> None:
    """Workers put an adapter onto the model that they have in memory, whatever it was made on. That may be one which an
    earlier run has published, and only its name can be compared: its path may be another for them."""
    made_on = json.loads((folder / ADAPTER).read_text()).get("base_model_name_or_path")
    if not made_on:
        return
    name = Path(made_on).resolve().name if Path(made_on).is_dir() else Path(made_on).name
    base = served.removesuffix(f"+{folder.name}")
    if name != Path(base).name:
        log.warning(
            "the trainer's model is %s, and the workers put its adapter onto %s: unless that is the same, the scores "
            "are another model's. client.checkpoints.publish(model=...) has them serve the trainer's first",
            made_on,
            base,
        )


def _give_memory_back() -> None:
    """What the trainer has set aside of its device's memory and does not need now."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
