"""The README says what is true, and its Chinese sister says the same."""

import ast
import re
from pathlib import Path

import pytest

import saccade
from saccade.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [code for found, code in BLOCK.findall(text) if found == language]


def shape(text: str) -> list[str]:
    """Headings by level, bullets, table rows and code blocks, in order."""
    marks = []
    for line in BLOCK.sub("CODE", text).splitlines():
        start = re.match(r"(#+ |\* |\||CODE)", line)
        if start:
            marks.append(start[1].strip())
    return marks


def links(text: str) -> list[str]:
    return sorted(re.findall(r"\]\(([^)]+)\)", text))


def test_both_languages_have_the_same_shape_code_and_links() -> None:
    assert shape(ENGLISH) == shape(CHINESE)
    assert BLOCK.findall(ENGLISH) == BLOCK.findall(CHINESE)
    swapped = [link.replace("README.md", "README.zh-CN.md") for link in links(CHINESE)]
    assert sorted(swapped) == links(ENGLISH)
    assert set(re.findall(r"`([^`\n]+)`", BLOCK.sub("", ENGLISH))) == set(
        re.findall(r"`([^`\n]+)`", BLOCK.sub("", CHINESE))
    )


def test_a_difference_between_the_languages_would_be_seen() -> None:
    assert shape(ENGLISH) != shape(CHINESE.replace("## ", "### ", 1))
    assert BLOCK.findall(ENGLISH) != BLOCK.findall(CHINESE.replace("top_k=3", "top_k=4", 1))


@pytest.mark.parametrize("code", blocks(ENGLISH, "python"))
def test_python_compiles_and_every_name_is_on_the_face(code: str) -> None:
    tree = ast.parse(code)
    used = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "saccade"
    }
    assert used
    assert used <= set(saccade.__all__)


def test_every_command_in_it_exists() -> None:
    shell = "\n".join(blocks(ENGLISH, "sh"))
    used = set(re.findall(r"^saccade (\w+)", shell, re.MULTILINE)) | set(re.findall(r"`saccade (\w+)", ENGLISH))
    assert used
    assert used <= set(COMMANDS)
