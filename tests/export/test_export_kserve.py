"""The manifest and the container file for KServe: valid by the published schema, and the server in it starts."""

import importlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from saccade.cli.main import COMMANDS
from saccade.errors import UsageError
from saccade.export.exporters.kserve import label
from saccade.inference.remote import Remote
from saccade.package.manifest import GraphEntry
from saccade.package.reader import open_package
from saccade.package.writer import PackageWriter
from saccade.server.settings import Settings
from saccade.testing.packages import colors
from saccade.verbs.export import export

ROOT = Path(__file__).resolve().parents[2]


def container(folder: Path) -> dict[str, Any]:
    record = yaml.safe_load((folder / "inference-service.yaml").read_text())
    [one] = record["spec"]["predictor"]["containers"]
    return dict(one)


def settings(folder: Path) -> dict[str, str]:
    [line] = re.findall(r"^ENV (.*)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    return dict(pair.split("=", 1) for pair in shlex.split(line))


def test_a_service_a_container_file_and_the_package(tmp_path: Path) -> None:
    package = colors(tmp_path / "p", "Waste.v2")
    done = export("kserve", package.path, tmp_path / "out", settings={"max_replicas": "4", "memory": "512Mi"})
    record = yaml.safe_load((done.folder / "inference-service.yaml").read_text())
    assert record["metadata"]["name"] == "waste-v2"
    assert record["metadata"]["annotations"]["saccade/package"] == package.digest
    assert record["spec"]["predictor"]["maxReplicas"] == 4
    one = container(done.folder)
    assert (one["image"], one["resources"]["limits"]["memory"]) == ("waste.v2:1", "512Mi")
    assert one["ports"] == [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}]
    assert open_package(done.folder / "package").digest == package.digest
    assert any("asks for no key" in note for note in done.written.notes)
    assert any("in this folder: docker build -t waste.v2:1 . and push it" in note for note in done.written.notes)


def test_the_container_runs_the_code_that_wrote_it(tmp_path: Path) -> None:
    """saccade is in no index under this version, so the folder brings it, with the versions that were tried."""
    done = export("kserve", colors(tmp_path / "p").path, tmp_path / "out")
    [wheel] = done.folder.glob("saccade-*-py3-none-any.whl")
    assert f"COPY {wheel.name} constraints.txt" in (done.folder / "Dockerfile").read_text()
    pins = (done.folder / "constraints.txt").read_text()
    assert f"numpy=={metadata.version('numpy')}\n" in pins
    assert "grpcio==" in pins
    assert "torch==" not in pins
    place = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(place),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    code = "import saccade, saccade.cli.main as m; print(saccade.__file__); m.main(['--help'])"
    told = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(place)}, capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith(str(place))
    assert (place / "saccade" / "server" / "console" / "static" / "console.js").is_file()
    other = export("kserve", colors(tmp_path / "p2").path, tmp_path / "again")
    assert wheel.read_bytes() == (other.folder / wheel.name).read_bytes()


def test_grpc_is_a_port_of_another_name(tmp_path: Path) -> None:
    wish = {"protocol": "grpc", "image": "registry.example.org/a/waste@sha256:" + 64 * "0"}
    one = container(export("kserve", colors(tmp_path / "p").path, tmp_path / "out", settings=wish).folder)
    assert one["ports"] == [{"name": "h2c", "containerPort": 8081, "protocol": "TCP"}]
    assert one["readinessProbe"]["httpGet"]["port"] == 8080
    assert one["image"] == wish["image"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"image": "a b"}, "image is a reference"),
        ({"image": "x\ny: z"}, "image is a reference"),
        ({"protocol": "ftp"}, "protocol is http or grpc"),
        ({"cpu": "much"}, "cpu is a quantity"),
        ({"memory": "1GiB"}, "memory is a quantity"),
        ({"min_replicas": "-1"}, "min_replicas is 0 to 1000"),
        ({"max_replicas": "0"}, "max_replicas is 1 to 1000"),
        ({"min_replicas": "3", "max_replicas": "2"}, "at most max_replicas"),
    ],
)
def test_a_setting_outside_its_range_is_refused(tmp_path: Path, wish: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        export("kserve", colors(tmp_path / "p").path, tmp_path / "out", settings=wish)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("waste", "waste"), ("9.Lives_", "m-9-lives"), ("A" * 128, "a" * 63), ("a-._b", "a--b"), ("x-", "x")],
)
def test_a_name_becomes_a_dns_label(name: str, expected: str) -> None:
    assert label(name) == expected
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", label(name))


@pytest.mark.parametrize(
    ("runtime", "extras"),
    [
        ("onnxruntime", "grpc,server"), ("torch", "grpc,server,torch"), ("tensorflow", "grpc,server,tensorflow"),
        ("triton", "grpc,server"), ("tf_serving", "grpc,server"),
    ],
)  # fmt: skip
def test_the_image_has_what_runs_the_graph(tmp_path: Path, runtime: str, extras: str) -> None:
    package = colors(tmp_path / "p")
    own, writer = package.manifest.graphs["default"], PackageWriter(tmp_path / "q")
    writer.add("remote.json", Remote("gpu-1:8001", "m").to_bytes())
    for file in package.manifest.files:
        if file.startswith("golden/"):
            writer.add(file, (package.path / file).read_bytes())
    entry = GraphEntry("remote.json", runtime, own.inputs, own.outputs)
    made = writer.seal(replace(package.manifest, graphs={"default": entry}))
    done = export("kserve", made.path, tmp_path / "out")
    assert f'py3-none-any.whl[{extras}]"' in (done.folder / "Dockerfile").read_text()
    told = any("gpu-1:8001 must be reachable from the pod" in note for note in done.written.notes)
    assert told == (runtime in ("triton", "tf_serving"))


def test_the_server_of_the_container_starts_and_the_probes_find_it(tmp_path: Path) -> None:
    folder = export("kserve", colors(tmp_path / "p").path, tmp_path / "out").folder
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    program, command, where = json.loads(entry)
    assert (program, command in COMMANDS, where) == ("saccade", True, "/models/package")
    given = settings(folder)
    asked = Settings.gather({}, environ=given)
    one = container(folder)
    assert asked.port == one["readinessProbe"]["httpGet"]["port"] == 8080
    assert (asked.host, asked.grpc_port) == ("0.0.0.0", 8081)
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    around = {**os.environ, **given, "SACCADE_HOST": "127.0.0.1", "SACCADE_PORT": str(port), "SACCADE_GRPC_PORT": "0",
              "SACCADE_HOME": str(tmp_path / "home"), "SACCADE_DRAIN_S": "0"}  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "saccade", command, str(folder / "package")], env=around)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                for probe in ("readinessProbe", "livenessProbe"):
                    path = one[probe]["httpGet"]["path"]
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(timeout=40)


@pytest.mark.clients
def test_the_manifest_keeps_the_published_schema(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        environment = importlib.import_module("benchmarks.environment")
    home = environment.folder_of(ROOT / "benchmarks" / "interop" / "kserve_rest.txt")
    if not (home / "complete").is_file():
        pytest.skip("KServe has no environment here: python -m benchmarks.interop kserve_rest --prepare")
    package = colors(tmp_path / "p").path
    for protocol in ("http", "grpc"):
        made = export("kserve", package, tmp_path / protocol, settings={"protocol": protocol}).folder
        (tmp_path / f"{protocol}.yaml").write_bytes((made / "inference-service.yaml").read_bytes())
    record = yaml.safe_load((tmp_path / "http.yaml").read_text())
    record["spec"]["predictor"]["minReplica"] = 1
    record["spec"]["predictor"]["containers"][0]["ports"][0]["containerPort"] = "eighty"
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(record))
    script = ROOT / "benchmarks" / "interop" / "kserve_manifest.py"
    files = [tmp_path / f"{name}.yaml" for name in ("http", "grpc", "wrong")]
    done = subprocess.run([home / "bin" / "python", script, *files], capture_output=True, text=True, timeout=200)
    told = done.stdout.splitlines()
    assert told[:2] == ["http.yaml is valid", "grpc.yaml is valid"], done.stderr
    for words in ("minReplica: V1beta1PredictorSpec has no such field", "containerPort is 'eighty', expected int"):
        assert any(words in line for line in told[2:])
    assert not any(line.endswith("is valid") for line in told[2:])
