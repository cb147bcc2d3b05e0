"""The four laws of ARCHITECTURE.md, read from the source itself; each is also seen to catch a planted breach."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "saccade"

FLOORS = {
    "saccade": 0,
    "errors": 1,
    "types": 2,
    "limits": 2,
    "process": 2,
    "confine": 2,
    "wire": 2,
    "storage": 2,
    "images": 3,
    "data": 4,
    "tasks": 4,
    "package": 4,
    "client": 4,
    "training": 5,
    "inference": 5,
    "registry": 5,
    "evaluation": 6,
    "optimization": 6,
    "export": 6,
    "protocols": 6,
    "bench": 6,
    "verbs": 7,
    "server": 8,
    "integrations": 8,
    "cli": 9,
    "testing": 9,
    "__main__": 10,
}
"""Room to floor; `saccade` is the face, which imports nothing until a name is touched."""

NEVER = {
    "training": {"package"},
    "inference": {"data"},
    "registry": {"tasks"},
    "evaluation": {"training", "registry"},
    "optimization": {"data", "training", "registry"},
    "export": {"data", "training", "registry"},
    "protocols": {"registry"},
    "bench": {"training"},
    "verbs": {"protocols"},
    "server": {"training", "evaluation", "verbs"},
}
"""Below, and forbidden all the same."""

ONLY = {
    "client": {"saccade", "types", "errors", "wire", "images"},
}
"""Rooms and files that may import these and nothing else of ours."""

OUTSIDE = {
    "training": {"httpx", "requests", "urllib3", "http", "socket", "starlette", "httptools", "h2", "uvloop"},
    "inference": {
        "starlette",
        "httptools",
        "h2",
        "uvloop",
        "grpc",
        "prometheus_client",
        "httpx",
        "requests",
        "http",
        "socket",
    },
    "images": {"starlette", "httptools", "h2", "uvloop", "httpx", "requests", "http", "socket"},
    "package": {"httpx", "requests", "urllib3", "http", "socket", "starlette", "httptools", "h2", "uvloop"},
}
"""Libraries a room must not import; the two remote runtimes are exempt."""

REMOTE = ("inference/runtimes/triton.py", "inference/runtimes/tf_serving.py")
PAIRS = tuple(f"inference/workers/{name}.py" for name in ("frames", "child", "worker", "decoder", "decoding"))
"""Their sockets are pairs, shared with a process of our own; none has an address."""
SOCKETS = {"socket", "ssl", "http", "httpx", "requests", "urllib", "grpc", "starlette", "httptools", "h2", "uvloop"}
PARSERS = ("urllib.parse",)

FRAMEWORKS = {
    "torch": "torch",
    "torchvision": "torch",
    "keras": "keras",
    "tensorflow": "tensorflow keras",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "flask": "flask",
    "django": "django",
    "tritonclient": "triton",
}
"""Library to the words of which the importing file, or a folder above it, must bear one: our Keras stands on
TensorFlow."""

TASKS = {"classification", "detection", "segmentation"}
TASK_NAMES_ELSEWHERE = {
    ("protocols/open_inference/messages.py", "classification"),
    # COCO's key for the outline of an object.
    ("data/formats/coco/__init__.py", "segmentation"),
    ("data/formats/coco/beyond.py", "segmentation"),
    ("data/formats/coco/fields.py", "segmentation"),
    ("data/formats/coco_masks.py", "segmentation"),
}

HEAVY = {
    "saccade": {"numpy", "torch", "keras"},
    "saccade.client.client": {"torch", "keras", "saccade.server", "saccade.inference"},
    "saccade.server.build": {
        "torch",
        "keras",
        "tensorflow",
        "grpc",
        "google.protobuf",
        "saccade.training",
        "saccade.verbs",
    },
    "saccade.integrations.models": {
        "torch",
        "keras",
        "tensorflow",
        "flask",
        "django",
        "saccade.server",
        "saccade.training",
    },
    "saccade.inference.engine": {"starlette", "grpc", "torch", "saccade.data", "saccade.training"},
}
"""Module to what must not be loaded after a fresh interpreter imported it."""


@dataclass(frozen=True)
class File:
    """A source file: its path below the root, its room, and its dotted name inside the house."""

    path: str
    room: str
    name: str
    tree: ast.Module


def read(root: Path) -> Iterator[File]:
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        room = parts[0] if parts else "saccade"
        tree = ast.parse(file.read_text(encoding="utf-8"))
        yield File(file.relative_to(root).as_posix(), room, ".".join(parts) or "saccade", tree)


def imports(file: File, root: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it; import_module and __import__ with a written name count."""
    for node in ast.walk(_untyped(file.tree) if file.room == "saccade" else file.tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level + (node.module or "")
            elif node.module == "saccade" or (node.module or "").startswith("saccade."):
                for alias in node.names:
                    yield _module(f"{node.module}.{alias.name}", root)
            elif node.module:
                yield node.module
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value


def _module(name: str, root: Path) -> str:
    """`saccade.errors.UsageError` names a thing in a module; `saccade.data.lock` is one."""
    path = root.joinpath(*name.split(".")[1:])
    return name if path.is_dir() or path.with_suffix(".py").is_file() else name.rpartition(".")[0]


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _untyped(tree: ast.Module) -> ast.Module:
    """The face shows its names to type checkers only; that block never runs."""
    body = [n for n in tree.body if not (isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING")]
    return ast.Module(body, [])


def upward(root: Path) -> list[str]:
    """Law 1: imports go down, siblings never import each other, and what ARCHITECTURE forbids stays out."""
    found = []
    for file in read(root):
        if file.room not in FLOORS:
            found.append(f"{file.path}: the room {file.room} has no floor")
            continue
        for module in imports(file, root):
            reason = _breach(file, module)
            if reason:
                found.append(f"{file.path} imports {module}: {reason}")
    return found


def _breach(file: File, module: str) -> str:
    if module.startswith("."):
        return "imports are absolute"
    if module.split(".")[0] != "saccade":
        return _outside(file, module)
    other = module.removeprefix("saccade").lstrip(".") or "saccade"
    room = other.split(".")[0]
    for name, allowed in ONLY.items():
        if _within(file.name, name) and not _within(other, name) and not any(_within(other, a) for a in allowed):
            return f"{name} imports only {', '.join(sorted(allowed))}"
    if room == file.room:
        return ""
    if room not in FLOORS:
        return "there is no such room"
    if FLOORS[room] == FLOORS[file.room]:
        return "siblings never import each other"
    if FLOORS[room] > FLOORS[file.room]:
        return f"floor {FLOORS[file.room]} imports floor {FLOORS[room]}"
    if room == "integrations" and file.room != "cli":
        return "only cli imports integrations"
    if room in ("cli", "testing") and file.room != "__main__":
        return "nobody imports it"
    if any(_within(other, name) for name in NEVER.get(file.room, ())):
        return f"{file.room} never imports it"
    return ""


def _outside(file: File, module: str) -> str:
    top = module.split(".")[0]
    if file.path not in (*REMOTE, *PAIRS) and top in OUTSIDE.get(file.room, ()):
        return f"{file.room} opens no connection"
    if file.path.endswith("messages.py") and top in SOCKETS and module not in PARSERS:
        return "messages open no socket"
    return ""


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def heavy(root: Path, modules: dict[str, set[str]] | None = None) -> list[str]:
    """Law 2: rooms open without their heavy neighbours, each in a fresh interpreter."""
    found = []
    environment = {**os.environ, "PYTHONPATH": str(root.parent)}
    for module, banned in (HEAVY if modules is None else modules).items():
        code = f"import {module}, saccade, sys; print(saccade.__file__); print(*sys.modules, sep='\\n')"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        if done.returncode:
            found.append(f"{module} does not open: {done.stderr.strip().splitlines()[-1]}")
            continue
        home, *loaded = done.stdout.split("\n")
        assert Path(home).is_relative_to(root), "another copy was imported: this is a bug of the test"
        found += [f"{module} loads {name}" for name in sorted(banned & set(loaded))]
    return found


def homeless(root: Path) -> list[str]:
    """Law 3: a framework is imported only by a file or folder that bears its name."""
    found = []
    for file in read(root):
        words = set(Path(file.path).with_suffix("").parts)
        for module in imports(file, root):
            wanted = FRAMEWORKS.get(module.split(".")[0])
            if wanted is not None and words.isdisjoint(wanted.split()):
                found.append(f"{file.path} imports {module}, but neither it nor a folder above is named {wanted}")
    return found


def named(root: Path) -> list[str]:
    """Law 4: a task is named only at home, be it as a text or by importing its folder."""
    found = []
    for file in read(root):
        if file.room == "tasks":
            continue
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value.strip().lower()
                if name in TASKS and (file.path, name) not in TASK_NAMES_ELSEWHERE:
                    found.append(f"{file.path}:{node.lineno} names the task {name}")
        for module in imports(file, root):
            if module.startswith("saccade.tasks.") and module.split(".")[2] in TASKS:
                found.append(f"{file.path} imports {module}, a task by name")
    return found


def test_imports_go_down() -> None:
    assert upward(SOURCE) == []


def test_rooms_open_without_their_heavy_neighbours() -> None:
    assert heavy(SOURCE) == []


def test_a_framework_is_imported_only_where_its_name_stands() -> None:
    assert homeless(SOURCE) == []


def test_a_task_is_named_only_at_home() -> None:
    assert named(SOURCE) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The source again, where a breach may be planted."""
    shutil.copytree(SOURCE, tmp_path / "saccade", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "saccade"


def plant(root: Path, path: str, line: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{text}\n{line}\n", encoding="utf-8")


def test_the_floors_are_those_of_rooms_that_are_there() -> None:
    rooms = {p.stem for p in SOURCE.glob("*.py")} | {p.parent.name for p in SOURCE.glob("*/__init__.py")}
    assert set(FLOORS) == (rooms - {"__init__"}) | {"saccade"}


@pytest.mark.parametrize(
    ("path", "line", "reason"),
    [
        ("errors.py", "import saccade.types", "floor 1 imports floor 2"),
        ("types.py", "from saccade.storage import files", "siblings"),
        ("data/lock.py", "def late():\n    from saccade.tasks.task import Task", "siblings"),
        ("images/decode.py", "from saccade.data.dataset import Dataset", "floor 3 imports floor 4"),
        ("training/run.py", "from saccade.package import reader", "never imports"),
        ("inference/engine.py", "from saccade.data.dataset import Dataset", "never imports"),
        ("inference/engine.py", "import http.client", "opens no connection"),
        ("registry/registry.py", "from saccade import tasks", "never imports"),
        ("evaluation/evaluate.py", "import saccade.training.recipe", "never imports"),
        ("export/exporter.py", "from saccade.data import lock", "never imports"),
        ("protocols/native/messages.py", "import socket", "no socket"),
        ("verbs/data.py", "import saccade.protocols.protocol", "never imports"),
        ("server/app.py", "from saccade import verbs", "never imports"),
        ("client/client.py", "from saccade.data import lock", "imports only"),
        ("server/app.py", "import saccade.cli.main", "floor 8 imports floor 9"),
        ("__init__.py", "import saccade.types", "floor 0 imports floor 2"),
        ("data/check.py", "from importlib import import_module\nimport_module('saccade.tasks')", "siblings"),
        ("data/check.py", "from . import dataset", "absolute"),
        ("extra/thing.py", "", "no floor"),
    ],
)
def test_an_upward_import_is_caught(copy: Path, path: str, line: str, reason: str) -> None:
    before = set(upward(copy))
    plant(copy, path, line)
    new = [b for b in upward(copy) if b not in before]
    assert new, f"{line!r} in {path} was not caught"
    assert all(b.startswith(path) and reason in b for b in new)


@pytest.mark.parametrize(
    ("path", "line", "module", "breach"),
    [
        ("__init__.py", "import numpy", "saccade", "saccade loads numpy"),
        ("client/client.py", "import saccade.server", "saccade.client.client", "saccade.server"),
        ("server/console/__init__.py", "import saccade.training", "saccade.server.build", "saccade.training"),
        ("inference/__init__.py", "import saccade.data", "saccade.inference.engine", "saccade.data"),
    ],
)
def test_a_heavy_neighbour_is_caught(copy: Path, path: str, line: str, module: str, breach: str) -> None:
    plant(copy, path, line)
    assert any(breach in b for b in heavy(copy, {module: HEAVY[module]}))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("images/resize.py", "import torch"),
        ("verbs/data.py", "def late():\n    from onnxruntime import InferenceSession"),
        ("inference/runtimes/fast.py", "import openvino.runtime"),
        ("training/trainers/torch/trainer.py", "import tensorflow"),
        ("server/app.py", "from importlib import import_module\nimport_module('torch.nn')"),
    ],
)
def test_a_homeless_framework_is_caught(copy: Path, path: str, line: str) -> None:
    before = set(homeless(copy))
    plant(copy, path, line)
    new = [b for b in homeless(copy) if b not in before]
    assert new, f"{line!r} in {path} was not caught"
    assert all(b.startswith(path) for b in new)


def test_a_framework_may_stay_at_home(copy: Path) -> None:
    before = homeless(copy)
    plant(copy, "inference/runtimes/openvino.py", "import openvino")
    plant(copy, "tasks/detection/torch.py", "import torch")
    assert homeless(copy) == before


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("verbs/data.py", 'DEFAULT = "classification"'),
        ("protocols/native/messages.py", 'def kind(task):\n    return task == "detection"'),
        ("cli/train.py", 'CHOICES = ("auto", "Segmentation")'),
        ("evaluation/evaluate.py", "from saccade.tasks.classification import task"),
    ],
)
def test_a_task_named_abroad_is_caught(copy: Path, path: str, line: str) -> None:
    before = set(named(copy))
    plant(copy, path, line)
    new = [b for b in named(copy) if b not in before]
    assert new, f"{line!r} in {path} was not caught"
    assert all(b.startswith(path) for b in new)
