"""XML from strangers: a small tree with line numbers; a document type or an entity is refused before it is expanded."""

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from saccade.errors import DataError

MOST_BYTES = 1024 * 1024
MOST_DEPTH = 32
MOST_NODES = 250_000
"""Ten thousand boxes with all that tools write about each."""


@dataclass
class Node:
    name: str
    line: int
    text: str = ""
    children: list["Node"] = field(default_factory=list)

    def all(self, name: str) -> list["Node"]:
        return [c for c in self.children if c.name == name]

    def one(self, name: str) -> "Node | None":
        return next((c for c in self.children if c.name == name), None)

    def words(self, name: str) -> str:
        """The text of a child without spaces around it; empty when there is none."""
        found = self.one(name)
        return found.text.strip() if found else ""


def parse(file: Path, name: str) -> Node:
    """The root of a document. name: the file as errors call it. Raises DataError with file and line."""
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{name} is {size:,} bytes, limit {MOST_BYTES:,}", hint="one XML file holds one picture")
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from error
    return _Builder(name).parse(data)


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.open: list[Node] = []
        self.root: Node | None = None
        self.count = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse

    def parse(self, data: bytes) -> Node:
        try:
            self.parser.Parse(data, True)
        except expat.ExpatError as error:
            raise DataError(
                f"{self.name} line {error.lineno} is no XML: {expat.ErrorString(error.code)}", hint="write it anew"
            ) from error
        except (LookupError, ValueError) as error:
            raise DataError(f"{self.name} has an unknown encoding", hint="save it as UTF-8") from error
        if self.root is None:
            raise DataError(f"{self.name} holds no element")
        return self.root

    def _start(self, name: str, _: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        self.count += 1
        if len(self.open) >= MOST_DEPTH:
            raise DataError(f"{self.name} line {line} is nested deeper than {MOST_DEPTH} elements")
        if self.count > MOST_NODES:
            raise DataError(f"{self.name} line {line}: more than {MOST_NODES:,} elements")
        node = Node(name, line)
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.root = node
        self.open.append(node)

    def _end(self, _: str) -> None:
        self.open.pop()

    def _characters(self, text: str) -> None:
        self.open[-1].text += text

    def _refuse(self, *_: object) -> None:
        raise DataError(
            f"{self.name} line {self.parser.CurrentLineNumber} declares a document type or an entity, which is not read",
            hint="remove the <!DOCTYPE ...> lines",
        )
