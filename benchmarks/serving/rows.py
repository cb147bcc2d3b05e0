"""What is measured: each row a graph, who takes part, and what is asked of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sealed
from benchmarks.serving import packages
from benchmarks.serving.entrants import Entrant, Load, Loop, Ours, Theirs
from benchmarks.serving.peers import PEERS_ALL, PLAIN, Peer, Way
from saccade.package import reader

Choose = Callable[[Peer, Path, bytes], Way]
"""Which way stands for a peer on a graph."""


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    entrants: tuple[Entrant, ...]
    loads: tuple[Load, ...]


def _graph(package: Path) -> Path:
    return reader.open_package(package).graph_path("default")


def _best(package: Path) -> str:
    """The variant that a server here takes."""
    from saccade.inference.model import Model

    with Model.open(package) as model:
        return model.choice.variant


TWO = {"SACCADE_PROCESSES": "2"}


def _against(
    peers: tuple[Peer, ...], choose: Choose, package: Path, picture: bytes, ours: tuple[Entrant, ...]
) -> tuple[Entrant, ...]:
    graph = _graph(package)
    return (*ours, *(Theirs(peer, choose(peer, graph, picture), graph) for peer in peers))


def mobilenet(peers: tuple[Peer, ...], choose: Choose) -> Row:
    """Small pictures, a small network: what a server adds counts most."""
    same, own = packages.as_peers_decode(sealed.NETWORK), packages.learned(sealed.NETWORK)
    best, small, large = _best(own), sealed.photo(), sealed.photo(4000, 3000)
    ours = (
        Loop(same),
        Ours((same,), how="the same graph and decode"),
        Ours((same,), name="saccade, same, 2 processes", how="the same, --processes 2", environ=TWO),
        Ours((own,), name="saccade, optimised", how=f"own decode, certified variant {best}"),
        Ours((own,), name="saccade, 2 processes", how="optimised, --processes 2", environ=TWO),
    )
    loads = (Load("1 caller", small, 1), Load("16 callers", small, 16), Load("12 MP, 8 callers", large, 8))
    title = "MobileNetV3-small, JPEG of 512x384 px and of 4000x3000"
    return Row("mobilenet", title, _against(peers, choose, same, small, ours), loads)


def resnet(peers: tuple[Peer, ...], choose: Choose) -> Row:
    """A large network: what the graph costs counts most."""
    package = packages.learned("resnet50")
    small = reader.open_package(package).golden()[0].image_bytes
    best = _best(package)
    ours: tuple[Entrant, ...] = (
        Loop(package),
        Ours((package,), "default", how="the same graph"),
        Loop(package, best, name="bare loop, optimised", how=f"certified variant {best}"),
        Ours((package,), name="saccade, optimised", how=f"certified variant {best}"),
    )
    loads = (Load("1 caller", small, 1), Load("16 callers", small, 16))
    return Row("resnet50", "ResNet-50, JPEG of 256x192 px", _against(peers, choose, package, small, ours), loads)


def _trained(name: str, title: str, data: Path, peers: tuple[Peer, ...], choose: Choose) -> Row:
    package = packages.trained(data)
    picture = reader.open_package(package).golden()[0].image_bytes
    best = _best(package)
    ours = (
        Loop(package),
        Ours((package,), "default", how="the same graph"),
        Ours((package,), name="saccade, optimised", how=f"certified variant {best}"),
    )
    only = tuple(peer for peer in peers if peer.name == "fastapi")
    plain = tuple(Theirs(peer, PLAIN, _graph(package), "fastapi as it comes") for peer in only)
    loads = (Load("1 caller", picture, 1), Load("16 callers", picture, 16))
    return Row(name, title, (*_against(only, choose, package, picture, ours), *plain), loads)


def boxes(peers: tuple[Peer, ...], choose: Choose) -> Row:
    return _trained("boxes", "Boxes of blood cells, the package of examples/data/cells", packages.CELLS, peers, choose)


def masks(peers: tuple[Peer, ...], choose: Choose) -> Row:
    return _trained(
        "masks", "Masks of a corridor, the package of examples/data/corridor", packages.FLOOR, peers, choose
    )


def empty(peers: tuple[Peer, ...], choose: Choose) -> Row:
    """A graph and a picture of nearly nothing: the server alone."""
    package, dot = packages.empty(), sealed.photo(32, 32)
    ours = (
        Loop(package),
        Ours((package,), how="the same graph"),
        Ours((package,), name="saccade, 2 processes", how="the same, --processes 2", environ=TWO),
    )
    loads = (Load("1 caller", dot, 1), Load("16 callers", dot, 16))
    return Row("empty", "An empty graph, JPEG of 32x32 px", _against(peers, choose, package, dot, ours), loads)


ROWS: dict[str, Callable[[tuple[Peer, ...], Choose], Row]] = {
    "mobilenet": mobilenet,
    "resnet50": resnet,
    "boxes": boxes,
    "masks": masks,
    "empty": empty,
}

SIZES_MP = {
    0.1: (365, 274),
    0.5: (816, 612),
    2.0: (1632, 1224),
    6.0: (2828, 2121),
    12.0: (4000, 3000),
    24.0: (5657, 4243),
}


def _growth(name: str, title: str, loads: list[Load], peers: tuple[Peer, ...], choose: Choose, several: bool) -> Row:
    same, own = packages.as_peers_decode(sealed.NETWORK), packages.learned(sealed.NETWORK)
    ours: tuple[Entrant, ...] = (
        Ours((own,), name="saccade, optimised", how=f"own decode, certified variant {_best(own)}"),
    )
    if several:
        return Row(name, title, ours, tuple(loads))
    only = tuple(peer for peer in peers if peer.name == "fastapi")
    return Row(name, title, _against(only, choose, same, sealed.photo(), ours), tuple(loads))


def sizes(peers: tuple[Peer, ...], choose: Choose) -> Row:
    loads = [Load(f"{mp:g}", sealed.photo(*size), 8) for mp, size in SIZES_MP.items()]
    return _growth("sizes", "megapixels of a JPEG, 8 callers", loads, peers, choose, False)


def connections(peers: tuple[Peer, ...], choose: Choose) -> Row:
    loads = [Load(str(n), sealed.photo(), n) for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)]
    return _growth("connections", "callers at once, JPEG of 512x384 px", loads, peers, choose, False)


def several(peers: tuple[Peer, ...], choose: Choose) -> Row:
    loads = [Load(str(n), sealed.photo(), 2, n) for n in (1, 2, 4, 8, 16, 32, 64)]
    return _growth("several", "pictures in one request, 2 callers", loads, peers, choose, True)


GROWTH: dict[str, Callable[[tuple[Peer, ...], Choose], Row]] = {
    "sizes": sizes,
    "connections": connections,
    "several": several,
}
"""Rows whose loads are points of a curve, each named by its number."""
LEAST_S = {"resnet50": 8.0}
"""Where an answer takes long, a window of its own, so that it holds enough of them."""
PEERS_BY_NAME = {peer.name: peer for peer in PEERS_ALL}
