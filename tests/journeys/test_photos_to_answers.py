"""The main job, whole: a folder of photos becomes a sealed package, a version in a home, and answers over HTTP."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import saccade
from saccade.cli.main import main
from saccade.errors import DataError, PackageError, SaccadeError, UsageError
from saccade.verbs.seal import Trained

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data" / "trash"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return saccade.train(SAMPLES, out=tmp_path_factory.mktemp("runs") / "run", model="trash", smoke=True, cache="none")


def test_the_run_folder_holds_what_it_promises(trained: Trained) -> None:
    names = {p.name for p in trained.folder.iterdir()}
    assert {"recipe.toml", "events.jsonl", "metrics.csv", "dataset.lock.json", "checkpoints", "samples"} <= names
    assert {"package", "report.html"} <= names
    assert list((trained.folder / "samples").glob("*.png"))


def test_the_certificate_proves_parity_on_the_whole_split(trained: Trained) -> None:
    certificate = json.loads((trained.package / "certificate.json").read_text())
    assert certificate["n"] == 108
    assert certificate["largest_difference"] < 1e-4
    assert certificate["metric_trainer"] == certificate["metric_sealed"]


def test_evaluating_again_gives_the_sealed_numbers(trained: Trained) -> None:
    again = saccade.evaluate(trained.package, SAMPLES)
    assert again.headline == trained.card.headline


def test_the_report_opens_offline(trained: Trained) -> None:
    page = trained.report.read_text()
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert trained.card.headline.name in page


def test_the_report_explains_the_worst_mistakes(trained: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "moved"
    shutil.copytree(trained.package, copy)
    here, moved = tmp_path / "here.html", tmp_path / "moved.html"
    assert main(["evaluate", str(trained.package), str(SAMPLES), "--report", str(here)]) == 0
    assert main(["evaluate", str(copy), str(SAMPLES), "--report", str(moved)]) == 0
    for page, in_run in ((trained.report, True), (here, True), (moved, False)):
        text = page.read_text()
        assert text.count("<figcaption>occlusion</figcaption>") == 12
        assert text.count("<figcaption>Grad-CAM</figcaption>") == (12 if in_run else 0)
        assert ('id="training"' in text) == in_run
        assert "By brightness" in text


def test_every_entry_path_gives_the_same_answer(trained: Trained) -> None:
    photo = sorted((SAMPLES / "test" / "glass").glob("*.jpg"))[0]
    with saccade.load(trained.package) as model:
        by_path, by_bytes = model.predict([photo, photo.read_bytes()])
    assert by_path.scores is not None
    assert by_bytes.scores is not None
    assert np.array_equal(by_path.scores, by_bytes.scores)


def test_a_home_keeps_versions_and_a_server_answers_from_it(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    assert saccade.push(trained.package, alias="stable", home=home) == ("trash", 1)
    assert main(["models", "--home", str(home)]) == 0
    assert "@stable" in capsys.readouterr().out
    assert main(["fsck", "--home", str(home)]) == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "saccade", "serve", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        photo = sorted((SAMPLES / "test" / "metal").glob("*.jpg"))[0]
        with saccade.Client(f"http://127.0.0.1:{port}") as client:
            _wait(client, server)
            answer = client.predict("trash@stable", photo, top_k=3)
            assert len(answer["predictions"]) == 3
            with saccade.load("trash@stable", home=home) as model:
                local = model.record(model.predict(photo), top_k=3)
            assert [p["label"] for p in local["predictions"]] == [p["label"] for p in answer["predictions"]]
            with pytest.raises(SaccadeError) as caught:
                client.predict("nobody", photo)
            assert caught.value.code == "not_found"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=45) == 0


def _wait(client: saccade.Client, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            if client.ready():
                return
        except SaccadeError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server was not ready")


def test_commands_say_what_is_wrong(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = sorted((SAMPLES / "test" / "paper").glob("*.jpg"))[0]
    assert main(["predict", str(trained.package), str(photo), "--draw", str(tmp_path / "drawn")]) == 0
    assert list((tmp_path / "drawn").glob("*.png"))
    assert main(["check", str(trained.package)]) == 0
    assert main(["evaluate", str(trained.package), str(SAMPLES), "--report", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").is_file()
    assert main(["train", str(SAMPLES), "--set", "epocs=3"]) == 2
    assert "did you mean 'epochs'" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "nowhere")]) == 1


def test_a_changed_byte_is_never_served(trained: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(trained.package, copy)
    graph = copy / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    with pytest.raises(PackageError):
        saccade.load(copy)


def test_other_classes_are_refused(trained: Trained, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("glass", "metal"):
        shutil.copytree(SAMPLES / "test" / name, data / "train" / name)
        shutil.copytree(SAMPLES / "test" / name, data / "test" / name)
    with pytest.raises((DataError, UsageError)):
        saccade.evaluate(trained.package, data)
