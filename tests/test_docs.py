"""The pages keep step with the code: what they list exists, what exists they list, what they show can be run."""

import ast
import contextlib
import functools
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli.main import COMMANDS, Parser
from saccade.data.check.finding import KINDS as FINDINGS
from saccade.export import exporters
from saccade.inference.engine import Engine
from saccade.limits import LIMITS
from saccade.protocols.native import openapi
from saccade.protocols.native.http import Native
from saccade.protocols.protocol import STATUSES
from saccade.server.console import views
from saccade.server.settings import Settings
from saccade.training.choices import Facts, choose
from saccade.training.events import KINDS as EVENTS
from saccade.training.listeners import names as listener_names
from saccade.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "saccade"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """From a heading to the next one of its level or above."""
    level = heading.index(" ")
    lines = text.splitlines()
    assert heading in lines, f"the page has lost its heading {heading!r}: this test looks for tables below it"
    start = lines.index(heading) + 1
    stop = next((i for i in range(start, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[i])), len(lines))
    return "\n".join(lines[start:stop])


def rows(text: str) -> Iterator[list[str]]:
    """Cells of every table row but headers and rules."""
    lines = text.splitlines()
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line.startswith("|") and not re.match(r"\|[ :|-]+\|$", line) and not re.match(r"\|[ :|-]+\|$", below):
            assert above.startswith("|"), f"a table row stands alone: {line}"
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def table(text: str, column: int = 1) -> dict[str, str]:
    """First ticked word of each row to the text of a column."""
    return {ticked(row[0])[0]: row[column].strip("`") for row in rows(text)}


def compare(
    page: str, what: str, told: Mapping[str, object] | Iterable[str], real: Mapping[str, object] | Iterable[str]
) -> None:
    """Fails with a sentence that says which row to add, remove or change."""
    faults = [f"{page} lacks a row for {what} `{name}`: add one" for name in real if name not in set(told)]
    faults += [
        f"{page} has a row for {what} `{name}`, which the code does not have: remove it"
        for name in told
        if name not in set(real)
    ]
    if isinstance(told, Mapping) and isinstance(real, Mapping):
        faults += [
            f"{page} says {told[name]!r} of {what} `{name}`, the code says {value!r}: change the row"
            for name, value in real.items()
            if name in told and told[name] != value
        ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("told", "real", "sentence"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, r"page.md lacks a row for key `b`: add one"),
        ({"a": 1, "b": 2}, {"a": 1}, r"page.md has a row for key `b`, which the code does not have: remove it"),
        ({"a": 1}, {"a": 2}, r"page.md says 1 of key `a`, the code says 2: change the row"),
    ],
)
def test_a_difference_is_told_in_a_sentence(told: dict[str, int], real: dict[str, int], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        compare("page.md", "key", told, real)


# Tables


def test_every_extra_is_on_its_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"none": project["dependencies"], **project["optional-dependencies"]}
    real = {name: " ".join(re.split(r"[^\w-]", text)[0] for text in needs) for name, needs in wanted.items()}
    told = {row[0].strip("`"): " ".join(ticked(row[1])) for row in rows(read("01-install.md"))}
    compare("docs/01-install.md", "extra", told, real)


def test_every_finding_of_the_doctor_is_on_its_page() -> None:
    compare("docs/02-data.md", "finding", table(section(read("02-data.md"), "## The doctor")), FINDINGS)


def test_every_format_has_its_heading() -> None:
    formats = {m.name for m in iter_modules([str(SOURCE / "data" / "formats")])}
    told = re.findall(r"^### (\w+)$", section(read("02-data.md"), "## Layouts"), re.MULTILINE)
    compare("docs/02-data.md", "format", told, formats)


@functools.cache
def codes() -> frozenset[str]:
    """Every error code that stands in the source as `code="..."` or as a class's own."""
    found = {limit.code for limit in LIMITS}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            values: list[ast.expr] = []
            if isinstance(node, ast.Call):
                values = [k.value for k in node.keywords if k.arg == "code"]
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                values = [
                    b.value for b in node.body if isinstance(b, ast.Assign) and ast.unparse(b.targets[0]) == "code"
                ]
            found |= {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}
    return frozenset(found)


def test_every_error_code_is_on_its_page() -> None:
    page = read("errors.md")
    http = {code: str(status) for code, status in STATUSES.items()}
    compare("docs/errors.md", "code", table(section(page, "## Asked of a server")), http)
    local = {code: {"usage": "2", "cancelled": "-"}.get(code, "1") for code in codes() - set(STATUSES)}
    compare("docs/errors.md", "code", table(section(page, "## Asked of this machine")), local)


def test_every_setting_is_on_its_page() -> None:
    def shown(value: Any) -> str:
        if value is None:
            return "none"
        if isinstance(value, Path):
            return f"~/{value.relative_to(Path.home()).as_posix()}"
        return json.dumps(value)

    real = {f.name: shown(f.default) for f in fields(Settings)}
    compare("docs/06-serving.md", "setting", table(section(read("06-serving.md"), "## Settings")), real)


def test_every_address_is_on_its_page() -> None:
    engine = Engine()
    real = {route.pattern for route in [*Native().routes(engine), *views.routes(engine)]} | set(
        openapi.document()["paths"]
    )
    engine.close(0)
    told = [word for row in rows(section(read("06-serving.md"), "## The API")) for word in ticked(row[0])]
    compare("docs/06-serving.md", "address", told, real)


def test_every_metric_is_on_its_page() -> None:
    source = (SOURCE / "server" / "metrics.py").read_text(encoding="utf-8")
    real = set(re.findall(r'"(saccade_[a-z_]+)"', source))
    compare("docs/06-serving.md", "metric", table(section(read("06-serving.md"), "## Metrics")), real)


def parser(command: str) -> Parser:
    made = Parser(prog=f"saccade {command}", allow_abbrev=False)
    getattr(importlib.import_module(f"saccade.cli.{COMMANDS[command][0]}"), f"{command}_options")(made)
    return made


def test_every_command_has_its_heading() -> None:
    compare("docs/commands.md", "command", re.findall(r"^## (\w+)$", read("commands.md"), re.MULTILINE), COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_on_its_page(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SACCADE_KEY", raising=False)
    page = f"docs/commands.md, {command}"
    told = {
        word: row[1].strip("`")
        for row in rows(section(read("commands.md"), f"## {command}"))
        for word in ticked(row[0])
    }
    real: list[str] = []
    defaults: dict[str, str] = {}
    for action in parser(command)._actions:
        if "--help" in action.option_strings:
            continue
        names = action.option_strings or str(action.metavar or action.dest.upper()).split()
        real += names
        fixed = isinstance(action.default, str | int | float) or (
            isinstance(action.default, Path) and not action.default.is_absolute()
        )
        if fixed and not isinstance(action.default, bool):
            number = isinstance(action.default, float) and action.default.is_integer()
            defaults[names[0]] = str(int(action.default) if number else action.default)
    compare(page, "option", told, real)
    compare(page, "default of", {n: told[n] for n in defaults}, defaults)


def test_every_setting_of_an_exporter_is_on_its_page() -> None:
    page = (DOCS / "04-packages.md").read_text(encoding="utf-8")
    for name, exporter in exporters.keepers().items():
        assert f"saccade export {name} " in page
        lost = [key for key in exporter.settings if f"| `{key}` |" not in page]
        assert not lost, f"{name} has settings that are on no page: {lost}"


def test_every_recipe_key_is_on_its_page() -> None:
    kinds = {
        "int": "whole number",
        "ints": "whole numbers",
        "float": "number",
        "bool": "`true`, `false`",
        "seconds": "time",
        "str": "text",
    }
    real: dict[str, str] = {}
    autos: list[str] = []
    for knob in fields(Recipe):
        rules = knob.metadata
        values = ", ".join(f"`{c}`" for c in rules["choices"]) or kinds[rules["kind"]]
        if rules["low"] is not None:
            values += f", from {rules['low']}" if rules["high"] is None else f", {rules['low']} to {rules['high']}"
        values += "".join(f", or `{word}`" for word in rules["words"])
        default = list(knob.default) if isinstance(knob.default, tuple) else knob.default
        real[knob.name] = f"{values} | `{default if isinstance(default, str) else json.dumps(default)}`"
        autos += [knob.name] if knob.default == "auto" else []
    page = read("03-training.md")
    told = {ticked(row[0])[0]: " | ".join(row[1:3]) for row in rows(section(page, "## The recipe"))}
    compare("docs/03-training.md", "key", told, real)
    compare("docs/03-training.md", "auto key", table(section(page, '## How "auto" chooses')), autos)


def test_what_auto_chooses_is_as_the_page_shows() -> None:
    photos = Facts(
        train=600,
        classes=("glass", "metal", "paper", "plastic", "wood", "other"),
        counts=(100,) * 6,
        exclusive=True,
        widths=(512,),
        heights=(384,),
        cores=2,
        device="cpu",
        bfloat16=True,
        loss="cross_entropy",
    )
    examples = {
        "600 photos": photos,
        "5,000 digits": replace(
            photos, train=5000, classes=tuple("0123456789"), counts=(500,) * 10, widths=(28,), heights=(28,)
        ),
        "20,000 photos, GPU": replace(
            photos, train=20_000, counts=(3333,) * 6, widths=(1024,), heights=(768,), cores=16, device="cuda"
        ),
        "600 photos with tags": replace(photos, counts=(300, 300, 200, 100, 90, 20), exclusive=False, loss="bce"),
    }
    page = section(read("03-training.md"), "## What that comes to")
    head = next(line for line in page.splitlines() if line.startswith("|")).strip("|").split("|")
    compare("docs/03-training.md", "example", [cell.strip() for cell in head[1:]], examples)
    made = [choose(Recipe(), example) for example in examples.values()]
    real: dict[str, str] = {}
    for key in (c.key for c in made[0].chosen):
        real[key] = " | ".join(json.dumps(getattr(m.recipe, key)).strip('"') for m in made)
    told = {ticked(row[0])[0]: " | ".join(row[1:]) for row in rows(page)}
    try:
        compare("docs/03-training.md", "example of", told, real)
    except AssertionError as error:
        raise AssertionError(
            f"{error}\nand see that the rule above, in 'How \"auto\" chooses', still says so"
        ) from None


def test_every_event_and_listener_is_on_its_page() -> None:
    page = read("03-training.md")
    line = next(row[1] for row in rows(section(page, "## What a run leaves")) if row[0] == "`events.jsonl`")
    compare("docs/03-training.md", "event", ticked(line), EVENTS)
    told = table(section(page, "## Listeners"))
    compare("docs/03-training.md", "listener", told, listener_names())


def test_every_public_name_is_on_its_page() -> None:
    page = section(read("python.md"), "# Python")
    first = page[: page.index("## ")]
    compare("docs/python.md", "name", table(first), saccade.__all__)
    for name, words in table(first).items():
        if (call := re.match(rf"`?{name}\(([^)]*)\)", words)) is not None:
            told = re.findall(r"\w+", call[1])
            real = inspect.signature(getattr(saccade, name)).parameters
            compare("docs/python.md", f"parameter of {name}", told, real)


@pytest.mark.parametrize(
    ("page", "row", "keeper"),
    [
        ("01-install.md", "timm", test_every_extra_is_on_its_page),
        ("02-data.md", "leak_exact", test_every_finding_of_the_doctor_is_on_its_page),
        ("03-training.md", "kernel", test_every_recipe_key_is_on_its_page),
        ("03-training.md", "cutmix", test_what_auto_chooses_is_as_the_page_shows),
        ("03-training.md", "mlflow", test_every_event_and_listener_is_on_its_page),
        ("06-serving.md", "body_bytes", test_every_setting_is_on_its_page),
        ("06-serving.md", "/livez", test_every_address_is_on_its_page),
        ("06-serving.md", "saccade_model_ready", test_every_metric_is_on_its_page),
        ("errors.md", "not_found", test_every_error_code_is_on_its_page),
        ("errors.md", "storage_full", test_every_error_code_is_on_its_page),
        ("errors.md", "usage", test_every_error_code_is_on_its_page),
        ("python.md", "push", test_every_public_name_is_on_its_page),
    ],
)
def test_a_lost_row_and_an_invented_one_would_be_seen(
    page: str, row: str, keeper: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = read(page).splitlines()
    assert any(line.startswith(f"| `{row}`") for line in lines)
    cut = [line for line in lines if not line.startswith(f"| `{row}`")]
    forged = [line.replace(f"`{row}`", "`invented`", 1) if line.startswith(f"| `{row}`") else line for line in lines]
    for changed, sentence in ((cut, f"lacks a row for .*`{row}`: add one"), (forged, "`invented`.*: remove it")):
        text = "\n".join(changed)
        monkeypatch.setitem(globals(), "read", lambda name, text=text: text)
        with pytest.raises(AssertionError, match=sentence):
            keeper()


# Links


def slugs(text: str) -> set[str]:
    """Anchors as GitHub makes them from headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def broken(page: Path) -> list[str]:
    """A sentence for every relative link of a page that leads nowhere."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    faults = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists():
            faults.append(f"{page.name} links to {link}, but there is no {path}: mend the link or write the page")
        elif anchor and anchor not in slugs(target.read_text(encoding="utf-8")):
            faults.append(f"{page.name} links to {link}, but {target.name} has no heading that makes #{anchor}")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not broken(page), "\n".join(broken(page))


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One two, three\n[x](b.md) [y](#one-two-three) [z](#four) [w](https://example.org)\n")
    assert broken(page) == [
        "a.md links to b.md, but there is no b.md: mend the link or write the page",
        "a.md links to #four, but a.md has no heading that makes #four",
    ]


def test_every_page_is_in_the_reading_order() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)", read("00-overview.md")))
    lost = {p.name for p in DOCS.glob("*.md")} - {"00-overview.md"} - linked
    assert not lost, f"docs/00-overview.md does not lead to {', '.join(sorted(lost))}: add a link"


def test_the_glossary_is_in_order() -> None:
    words = [row[0] for row in rows(read("glossary.md"))]
    assert words == sorted(words), "docs/glossary.md is not in alphabetical order: sort its rows"


# Code


def blocks(*languages: str) -> list[Any]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("code", blocks("python", "python run"))
def test_python_compiles_and_uses_public_names(code: str) -> None:
    tree = ast.parse(code)
    used = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "saccade"
    }
    assert used <= set(saccade.__all__), f"saccade has no public {', '.join(sorted(used - set(saccade.__all__)))}"


@pytest.mark.parametrize("code", blocks("python run"))
def test_python_marked_as_run_runs(code: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for name, color in (("red", (200, 40, 30)), ("blue", (30, 60, 200))):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(random.normal(color, 25, (40, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=92)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "SACCADE_HOME": str(tmp_path / "elsewhere")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"the program on the page ends in an error:\n{done.stdout}\n{done.stderr}"
    assert "waste 1" in done.stdout
    assert not (tmp_path / "elsewhere").exists()


def commands(shell: str) -> Iterator[list[str]]:
    """Every simple command of a shell block as words; pipes and lists are parted."""
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        start = 0
        for i, word in enumerate([*words, "|"]):
            if word in ("|", "||", "&&", ";", "&"):
                if words[start:i]:
                    yield words[start:i]
                start = i + 1


def wrong(words: list[str]) -> str:
    """Why a command of the house cannot be given; empty when it can, or is not ours."""
    lessons = _lessons()
    if words[0] == "make":
        known = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return "" if set(words[1:]) <= set(known) else f"the Makefile has no target {' '.join(words[1:])}"
    if words[:2] == ["python", "-m"] and words[2].startswith("benchmarks"):
        if not (ROOT / f"{words[2].replace('.', '/')}.py").exists():
            return f"there is no module {words[2]}"
        unknown = [w for w in words[3:4] if words[2] == "benchmarks.lessons" and w not in lessons]
        return f"there is no lesson {unknown[0]}; lessons are {', '.join(lessons)}" if unknown else ""
    if words[0] != "saccade" or words[1] in ("COMMAND", "--version", "--help"):
        return ""
    if words[1] not in COMMANDS:
        return f"saccade has no command {words[1]}; commands are {', '.join(COMMANDS)}"
    complaint = _Lines()
    try:
        with contextlib.redirect_stderr(complaint):
            options = parser(words[1]).parse_args(words[2:])
        given = dict(pair.split("=", 1) for pair in getattr(options, "set", None) or ())
        if words[1] == "export":
            exporters.settled(exporters.keepers().get(options.kind) or exporters.find(options.kind), given)
        else:
            Recipe().replace_from(given)
    except SystemExit:
        return f"the parser refuses `{shlex.join(words)}`: {complaint.text.strip()}"
    except saccade.SaccadeError as error:
        return f"`{shlex.join(words)}`: {error}"
    return ""


class _Lines:
    """What argparse says on standard error."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


def _lessons() -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        module = importlib.import_module("benchmarks.lessons")
    return [*module.LESSONS, module.JUDGE]


@pytest.mark.parametrize("shell", blocks("sh", "console"))
def test_every_command_parses(shell: str) -> None:
    faults = [fault for words in commands(shell) if (fault := wrong(words))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("saccade train photos --bugdet 10m", "did you mean --budget"),
        ("saccade trian photos", "saccade has no command trian"),
        ("saccade train photos --set kernle=3", "did you mean 'kernel'"),
        ("saccade export triton waste out --set instance=2", "triton has no setting 'instance'"),
        ("saccade export tritn waste out", "nothing exports to 'tritn'"),
        ("cat x | saccade serve --prot 1", "the parser refuses"),
        ("make demos", "the Makefile has no target demos"),
        ("python -m benchmarks.lessons kernels", "there is no lesson kernels"),
        ("python -m benchmarks.nothing", "there is no module"),
    ],
)
def test_a_wrong_command_would_be_seen(command: str, sentence: str) -> None:
    assert any(sentence in wrong(words) for words in commands(command))


@pytest.mark.parametrize("text", blocks("json"))
def test_json_parses(text: str) -> None:
    json.loads(text)


def test_toml_holds_known_keys() -> None:
    for name, known in (("03-training.md", Recipe), ("06-serving.md", Settings)):
        found = [match[2] for match in BLOCK.finditer(read(name)) if match[1] == "toml"]
        assert found
        for text in found:
            unknown = set(tomllib.loads(text)) - {f.name for f in fields(known)}  # type: ignore[arg-type]
            assert not unknown, f"docs/{name} sets {', '.join(sorted(unknown))}, which {known.__name__} does not have"


# Formulas


def unsound(text: str) -> list[str]:
    """What would not come out as a formula on the code host, which reads Markdown's escapes before TeX."""
    plain = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))
    plain = re.sub(r"^\|.*$", lambda row: row[0].replace(r"\|", "|"), plain, flags=re.MULTILINE)
    faults = [f"`{m}` loses its backslash: use a word, as \\lbrace" for m in re.findall(r"\\[^a-zA-Z\s]", plain)]
    for part in plain.split("\n\n"):
        math = re.findall(r"\$\$?([^$]+)\$\$?", part)
        if part.count("$") % 2:
            faults.append(f"an odd number of $ in: {part[:80]}")
        faults += [f"braces do not match in {m}" for m in math if m.count("{") != m.count("}")]
    return faults


def test_formulas_come_out() -> None:
    for page in PAGES:
        faults = unsound(page.read_text(encoding="utf-8"))
        assert not faults, f"{page.name}: " + "; ".join(faults)


def test_a_bad_formula_would_be_seen() -> None:
    assert unsound(r"$a\, b$")
    assert unsound("$a")
    assert unsound("$a_{b$")
    assert not unsound(r"$a \thinspace b_{c}$")


# Lessons


def test_every_lesson_is_told_with_its_rows() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        lessons = importlib.import_module("benchmarks.lessons").LESSONS
    page = read("newcomers.md")
    for name, lesson in lessons.items():
        command = f"python -m benchmarks.lessons {name}\n"
        assert command in page, f"docs/newcomers.md lacks the lesson {name}: show `{command.strip()}` and its table"
        after = page[page.index(command) :]
        first = after[after.index("\n|") : after.index("|\n\n") + 2]
        compare(f"docs/newcomers.md, lesson {name}", "recipe", [row[0] for row in rows(first)], lesson.rows)
    assert "python -m benchmarks.lessons judge\n" in page, "docs/newcomers.md lacks the lesson judge"


def test_every_decision_stands_in_their_index_under_its_own_title() -> None:
    folder = ROOT / "decisions"
    listed = re.findall(r"^\* \[(\d+\. [^]]+)\]\(([^)]+)\)$", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    titles = [(f.read_text("utf-8").splitlines()[0].removeprefix("# "), f.name) for f in folder.glob("[0-9]*.md")]
    assert sorted(listed) == sorted(titles)
