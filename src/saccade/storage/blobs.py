"""Files by digest: written once, never changed, found by their SHA-256. In a folder here; made so that S3 fits."""

import errno
import hashlib
import os
import re
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path

from saccade.errors import PackageError, StorageError
from saccade.storage.files import Files

DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore(ABC):
    """Keepers: FolderBlobs. Their common suite: saccade.testing.blobs. digest: SHA-256, 64 hex digits."""

    @abstractmethod
    def put(self, file: Path, digest: str) -> None:
        """Keeps a copy, durable on return; a blob that is there stays, and is as young as a new one. Raises
        StorageError, and PackageError (digest_mismatch) when the file has another digest."""

    @abstractmethod
    def has(self, digest: str) -> bool: ...

    @abstractmethod
    def read(self, digest: str) -> bytes:
        """A small blob whole, verified. Raises StorageError when it is missing or damaged."""

    @abstractmethod
    def fetch(self, digest: str, target: Path, *, own: bool = True) -> None:
        """Makes the blob a new file. own: a copy that may be changed; else it may share the store's own bytes.

        Raises StorageError when it is missing or the disk refuses.
        """

    @abstractmethod
    def verify(self, digest: str) -> bool:
        """True when the blob is there and its bytes have this digest."""

    @abstractmethod
    def digests(self) -> Iterator[str]:
        """Every blob there is."""

    @abstractmethod
    def sweep(self, keep: Collection[str], age_s: float) -> list[str]:
        """Removes blobs not among those to keep that nobody put within age_s, and drafts as old; gives their digests.

        The age protects what a push has put but not yet named. Raises StorageError.
        """


class FolderBlobs(BlobStore):
    """root/ab/abcd...: drafts are made in root/.drafts and renamed; blobs are read-only."""

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self.root = root
        self._files = files or Files()

    def put(self, file: Path, digest: str) -> None:
        target = self._place(digest)
        try:
            if target.exists() and self.verify(digest):
                os.utime(target)  # a sweep that runs now must see that somebody needs it
                return
            self._make(self.root, self.root / ".drafts", target.parent)
            handle, name = tempfile.mkstemp(dir=self.root / ".drafts")
            os.close(handle)
            draft = Path(name)
            try:
                self._files.copy(file, draft)
                if _digest(draft) != digest:
                    raise PackageError(
                        f"{file.name} was changed while it was copied", hint="push it again", code="digest_mismatch"
                    )
                draft.chmod(0o444)
                self._files.rename(draft, target)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise refused(error) from error

    def has(self, digest: str) -> bool:
        return self._place(digest).is_file()

    def read(self, digest: str) -> bytes:
        try:
            data = self._place(digest).read_bytes()
        except OSError as error:
            raise _lost(digest) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise _lost(digest)
        return data

    def fetch(self, digest: str, target: Path, *, own: bool = True) -> None:
        source = self._place(digest)
        if not source.is_file():
            raise _lost(digest)
        try:
            if not own:
                try:
                    target.hardlink_to(source)
                    return
                except OSError as error:
                    # A disk without links, another disk, or too many links: a copy holds the same bytes.
                    if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                        raise
            self._files.copy(source, target)
            target.chmod(0o644)
        except OSError as error:
            raise refused(error) from error

    def verify(self, digest: str) -> bool:
        place = self._place(digest)
        return place.is_file() and _digest(place) == digest

    def digests(self) -> Iterator[str]:
        if self.root.is_dir():
            yield from sorted(p.name for p in self.root.glob("??/*") if DIGEST.fullmatch(p.name))

    def sweep(self, keep: Collection[str], age_s: float) -> list[str]:
        oldest, gone = time.time() - age_s, []
        try:
            for draft in (self.root / ".drafts").glob("*"):
                if draft.stat().st_mtime < oldest:
                    draft.unlink(missing_ok=True)
            for digest in [d for d in self.digests() if d not in keep]:
                if self._place(digest).stat().st_mtime < oldest:
                    self._place(digest).unlink(missing_ok=True)
                    gone.append(digest)
        except FileNotFoundError:
            return gone  # another sweep is at work
        except OSError as error:
            raise refused(error) from error
        return gone

    def _place(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise StorageError("a digest is 64 hex digits", code="dependency_unavailable")
        return self.root / digest[:2] / digest

    def _make(self, *folders: Path) -> None:
        for folder in folders:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                self._files.sync_folder(folder.parent)


def refused(error: OSError) -> StorageError:
    """A disk's own words as one of ours: storage_full for a full disk or quota, else dependency_unavailable."""
    return StorageError.of(error, "nothing was changed", room="free some disk space and try again")


def _lost(digest: str) -> StorageError:
    return StorageError(
        f"the file {digest[:12]}... of the registry is missing or damaged",
        hint="saccade fsck lists what is affected; push the package again",
        code="dependency_unavailable",
    )


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
