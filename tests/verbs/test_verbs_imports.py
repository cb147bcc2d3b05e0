"""What an import may not do."""

from pathlib import Path

import pytest

from saccade.errors import PackageError
from saccade.package.reader import open_package
from saccade.testing.packages import colors
from saccade.verbs.imports import import_model


def test_an_import_replaces_no_package_and_no_folder(tmp_path: Path) -> None:
    package = colors(tmp_path / "run" / "package")
    (tmp_path / "folder").mkdir()
    for out in (package.path, tmp_path / "folder"):
        with pytest.raises(PackageError, match="is already there") as caught:
            import_model(tmp_path / "net.onnx", out)
        assert caught.value.code == "already_exists"
    assert open_package(package.path).digest == package.digest
