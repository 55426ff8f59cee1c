"""Files in a gradient store: a folder as fsspec names it, of this machine or elsewhere. Knows no Redis, and nothing of
what is in a file.

Each has a digest of its content in its name, and is written once. It has its name when it is whole: on a disk it gets
that at the end, and object stores show nothing of an object before its last byte is there. So nobody reads half of one,
and whoever writes it a second time changes nothing.
"""

import hashlib
import mmap
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from congrad_worker.errors import ShardStoreError, WorkerError

SUFFIX = ".safetensors"
PARTIAL = ".part"

WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}
"""File systems in which a file is there when all of it is, as they have no other way of writing one."""

EXTRAS = {"s3": "s3", "s3a": "s3"}
"""What of the project's extras brings a file system."""


class ShardStore:
    """The files of jobs, in a folder for each job.

    :param url: as in ``CONGRAD_GRADIENT_STORE``.
    :raises WorkerError: the file system is not to be had; the message says why, in one line.
    """

    def __init__(self, url: str):
        self._kind = url.partition(":")[0]
        self._is_local = self._kind == "file"
        self._system, self._root = _reached(url)
        if self._is_local:
            try:
                Path(self._root).mkdir(mode=0o750, parents=True, exist_ok=True)
            except OSError as error:
                raise WorkerError(f"CONGRAD_GRADIENT_STORE: {self._root} cannot be made: {error.strerror}") from error

    def put(self, folder: str, stem: str, content: bytes) -> str:
        """Writes a file; its name, within the store.

        :raises ShardStoreError: it cannot be written now.
        """
        name = f"{folder}/{stem}-{hashlib.blake2b(content, digest_size=16).hexdigest()}{SUFFIX}"
        self.put_as(name, content)
        return name

    def put_as(self, name: str, content: bytes) -> None:
        """Writes a file under a name that says what is in it.

        :raises ShardStoreError: it cannot be written now.
        """
        with _told(self._kind):
            if self._is_local:
                _write(Path(self._root) / name, content)
            else:
                self._upload(f"{self._root}/{name}", content)

    def _upload(self, path: str, content: bytes) -> None:
        if self._kind in WHOLE:
            self._system.pipe_file(path, content)
            return
        partial = f"{path}.{uuid.uuid4().hex}{PARTIAL}"
        self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            self._system.pipe_file(partial, content)
            self._system.mv(partial, path)
        except Exception:
            with suppress(Exception):  # whatever kind of errors it has
                self._system.rm_file(partial)
            raise

    def get(self, name: str) -> bytes | None:
        """What is in a file; None where there is none.

        :raises ShardStoreError: it cannot be read now.
        """
        with _told(self._kind), self._may_lack():
            if self._is_local:
                return (Path(self._root) / name).read_bytes()
            content: bytes = self._system.cat_file(f"{self._root}/{name}")
            return content
        return None

    def view(self, name: str) -> memoryview | None:
        """The same of a file that is read once: of a disk nothing is copied, and what is looked at is read then.

        :raises ShardStoreError: as above. Where a disk fails later on, the system ends the process.
        """
        if not self._is_local:
            content = self.get(name)
            return None if content is None else memoryview(content)
        with _told(self._kind), self._may_lack(), (Path(self._root) / name).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:  # nothing cannot be mapped
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return None

    def free(self, folder: str) -> bool:
        """Takes away all files of a folder, those that a killed worker has left half-written too; whether there was
        any.

        :raises ShardStoreError: they cannot be taken away now.
        """
        path = f"{self._root}/{folder}"
        with _told(self._kind), self._may_lack():
            if self._is_local:
                shutil.rmtree(path)
                return True
            self._system.invalidate_cache()
            files = self._system.find(path)
            if files:
                self._system.rm(files)
            return bool(files)
        return False

    @contextmanager
    def _may_lack(self) -> Iterator[None]:
        """Lets pass that something is not there; but not that nothing is, where the whole folder is away: its files are
        not gone, and are there again once it is."""
        try:
            yield
        except FileNotFoundError:
            if self._is_local and not Path(self._root).is_dir():
                raise


def _reached(url: str) -> tuple[Any, str]:
    kind = url.partition(":")[0]
    if kind == "file":
        return None, url.removeprefix("file://")
    try:
        import fsspec  # a disk needs none

        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = EXTRAS.get(kind)
        remedy = f"pip install 'congrad-filter[{extra}]'" if extra else "install what fsspec names for it"
        raise WorkerError(f"CONGRAD_GRADIENT_STORE: {kind}:// cannot be had ({error}); {remedy}") from error
    except ValueError as error:
        raise WorkerError(f"CONGRAD_GRADIENT_STORE: {kind}:// is no file system that fsspec knows") from error
    return system, str(root).rstrip("/")


def _write(path: Path, content: bytes) -> None:
    """As a whole, and on the disk when it returns: Redis may outlive a crash of the machine."""
    path.parent.mkdir(mode=0o750, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()  # each try would leave one, which takes the room that the next one needs
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _told(kind: str) -> Iterator[None]:
    """Every file system has errors of its own, whose words may have an address or a key in them: what is told is the
    class, and the reason where an operating system gave it."""
    try:
        yield
    except Exception as error:
        why = getattr(error, "strerror", None) if kind == "file" else None
        raise ShardStoreError(f"the gradient store ({kind}) fails: {why or type(error).__name__}") from error
