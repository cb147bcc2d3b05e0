"""Programs of torch.export (.pt2): sealed as they are, but for example inputs, which are pickles that nobody reads."""

import zipfile
from pathlib import Path

from saccade.errors import PackageError
from saccade.inference.origin import Origin, Ready, Told


class _Program(Origin):
    title = "a program of torch.export (.pt2)"
    needs = {"torch": "torch"}  # noqa: RUF012 - never changed

    def recognises(self, file: Path) -> bool:
        return file.is_file() and file.suffix == ".pt2"

    def read(self, file: Path, folder: Path, told: Told) -> Ready:
        from saccade.inference.runtimes.torch import program
        from saccade.inference.runtimes.torch.graph import MAX_BYTES, RATIO, forbidden

        target = folder / "model.pt2"
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
            if sum(e.file_size for e in entries) > MAX_BYTES or any(
                e.file_size > RATIO * max(e.compress_size, 4096) for e in entries
            ):
                raise forbidden("it would become far larger when it is read")
            had = program.without_examples(file, target)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise PackageError(
                f"{file} is no program of torch.export", hint="write it with torch.export.save", code="onnx_invalid"
            ) from error
        program.refuse_code(target)
        try:
            last = program.operators(target)
        except Exception as error:
            # Whatever the loader throws at a damaged archive, the archive is at fault.
            raise PackageError(f"{file} cannot be opened by this PyTorch", code="onnx_invalid") from error
        notes = ("example inputs, a pickle, were left out unread",) if had else ()
        return Ready("torch", target.name, last, notes)


ORIGIN = _Program()
