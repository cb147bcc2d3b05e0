"""Which graph answers: speed, host and runtime of its certificate, and what becomes of a package whose variant was
changed."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saccade import process
from saccade.cli.main import main
from saccade.errors import InferenceError, PackageError
from saccade.inference import choice, runtimes
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.package.manifest import Certified, GraphEntry
from saccade.package.reader import Package, open_package
from saccade.package.writer import reseal
from saccade.testing.packages import colors, png

KNOWN = Certified("", "", {"1": 1.0, "8": 1.0}, {"1": 2.0, "8": 2.0}, 2.0, 0.01, "")


def with_variants(folder: Path, **told: dict[str, Any]) -> Package:
    """`colors` with its own graph as further variants, certified here; told: by variant, what its certificate says
    else."""
    package = colors(folder)
    default = package.manifest.graphs["default"]
    graphs, extra = {"default": default}, {}
    for name, more in told.items():
        certified = replace(
            KNOWN,
            file=f"variants/{name}/certificate.json",
            host=process.host(),
            runtime_version=choice.installed("onnxruntime"),
        )
        extra |= {certified.file: b"{}", f"variants/{name}/model.onnx": package.graph_path().read_bytes()}
        graphs[name] = GraphEntry(
            f"variants/{name}/model.onnx", default.runtime, default.inputs, default.outputs, replace(certified, **more)
        )
    return reseal(package, graphs=graphs, extra=extra)


def test_the_fastest_first_and_none_that_is_slower_than_the_default(tmp_path: Path) -> None:
    package = with_variants(
        tmp_path / "p", quick={"gain": 1.5}, slow={"gain": 0.98}, quickest={"gain": 3}, as_fast={"gain": 1}
    )
    ways = choice.order(package)
    assert [way.variant for way in ways] == ["quickest", "quick", "as_fast", "default"]
    assert ways[0].passed == {"slow": "it is slower than the default graph: 0.98 times as fast"}
    assert [way.variant for way in choice.order(package, "slow")] == ["slow"], "asked for, it is taken"
    assert [way.variant for way in choice.order(package, device="cuda")] == ["default"]


def test_another_version_of_the_runtime_is_passed_over_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    package = with_variants(
        tmp_path / "p", older={"runtime_version": "1.0.2"}, unknown={"runtime_version": None, "gain": 1.1}
    )
    with caplog.at_level(logging.INFO, "saccade.inference"), Model.open(package.path) as model:
        assert model.choice.variant == "unknown", "a package that is older than the field is believed"
    here = choice.installed("onnxruntime")
    said = f"not older: it was certified on onnxruntime 1.0.2, here is {here}; saccade optimize certifies it here"
    assert said in caplog.text
    with Model.open(package.path, options=Options(variant="older")) as model:
        assert model.choice.reason == "it was asked for"


def test_the_installed_version_is_that_of_the_library() -> None:
    assert choice.installed("onnxruntime") == runtimes.find("onnxruntime").version()
    with pytest.raises(InferenceError) as caught:
        choice.installed("abacus")
    assert caught.value.code == "not_found"


def test_the_version_is_read_where_no_distribution_bears_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise choice.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(choice.metadata, "version", unknown)
    assert choice.installed("onnxruntime") == runtimes.find("onnxruntime").version()


def test_a_file_of_a_variant_that_was_changed_refuses_the_package_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = with_variants(tmp_path / "p", quick={})
    file = package.path / "variants/quick/model.onnx"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    for options in (Options(), Options(variant="default"), Options(variant="quick")):
        with pytest.raises(PackageError) as caught:
            Model.open(package.path, options=options)
        assert caught.value.code == "digest_mismatch"
        assert str(caught.value).startswith("variants/quick/model.onnx was changed after sealing: ")
        assert str(caught.value).endswith("; copy the package again")
    (tmp_path / "red.png").write_bytes(png(200, 0, 0))
    assert main(["predict", str(package.path), str(tmp_path / "red.png")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "variants/quick/model.onnx was changed after sealing" in line
    data[-1] ^= 1
    file.write_bytes(data)
    assert open_package(package.path).digest == package.digest
