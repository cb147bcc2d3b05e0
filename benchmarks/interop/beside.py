"""Side by side: every call of tritonclient against saccade and against the real Triton, over the same exported models.

A package of each kind is served here, and loaded by Triton as `saccade export triton` wrote it. Both are asked the same
calls by the same client, over HTTP and gRPC, blocking and asyncio; statuses must be equal, arrays to 1e-6. Where the
two answer differently on purpose, the reason stands in `APART` and the line says so.

    python -m benchmarks.interop.beside [--json FILE]
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import environment, machine
from benchmarks.interop import stage, tritonserver
from saccade.testing.packages import boxes, colors, masks
from saccade.verbs.export import export

HERE = Path(__file__).parent
APART = {
    "infer, compressed request": (
        {("415", "ok")},
        "compressed bodies are refused here: a small body must not become a large one",
    ),
    "get_trace_settings": ({("404", "ok"), ("UNIMPLEMENTED", "ok")}, "saccade has no remote settings of traces"),
    "get_log_settings": ({("404", "ok"), ("UNIMPLEMENTED", "ok")}, "saccade has no remote settings of logs"),
    "get_system_shared_memory_status": (
        {("501", "ok"), ("UNIMPLEMENTED", "ok")},
        "saccade shares no memory with strangers",
    ),
    "infer, encoded picture that is none": (
        {("415", "400")},
        "what is refused for its form or size keeps its own status in every dialect",
    ),
    "get_inference_statistics, unknown": (
        {("404", "400"), ("NOT_FOUND", "INVALID_ARGUMENT")},
        "an unknown model is 404 in every call",
    ),
    "load_model, unknown": ({("404", "500"), ("NOT_FOUND", "INTERNAL")}, "an unknown model is 404 in every call"),
}
"""Calls that end otherwise by decision: the statuses of both that are meant (ours, Triton's), and why."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interop.beside", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write every call here")
    options = parser.parse_args()
    print(machine.describe())
    return run(options.json)


def run(file: Path | None) -> int:
    """Prints the matrix, and writes every call to the file if there is one. Returns 1 when anything differs
    unexplained."""
    client = environment.python_of(HERE / "triton.txt")
    pairs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for make in (colors, masks, boxes):
            name = make.__name__
            more = {"exclusive": True} if make is colors else {}
            package = make(Path(folder) / name, **more).path  # type: ignore[arg-type]
            case = stage.case(package, Path(folder) / f"{name}.npz")
            with stage.served(package, Path(folder) / "home", SACCADE_OIP_STYLE="triton") as server:
                ours = asked(client, server.http, server.grpc, name, name, "1", case)
            repository = export("triton", package, Path(folder) / f"{name}-repository").folder
            space = Path(folder) / f"{name}-triton"
            space.mkdir()
            explicit = ("--model-control-mode", "explicit", "--load-model", f"{name}_image", "--load-model", name)
            with tritonserver.serving(repository, space, *explicit) as triton:
                theirs = asked(client, triton.http, triton.grpc, name, f"{name}_image", "1,1", case)
            pairs += [{"model": name, **pair} for pair in joined(ours, theirs)]
    show(pairs)
    if file is not None:
        text = {"machine": machine.describe(), "calls": pairs}
        file.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    return int(any(pair["verdict"] == "DIFFERS" for pair in pairs) or not pairs)


def asked(
    client: Path, http: str, grpc: str, model: str, pictures: str, shape: str, case: Path
) -> dict[tuple[str, str], dict[str, Any]]:
    """What came of every call, by protocol and call."""
    command = [str(client), str(HERE / "calls.py"), "--http", http, "--grpc", grpc, "--model", model]
    command += ["--pictures", pictures, "--shape", shape, "--case", str(case)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(one["protocol"], one["call"]): one for one in found}


def joined(
    ours: dict[tuple[str, str], dict[str, Any]], theirs: dict[tuple[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Pairs of outcomes with a verdict: same, apart (on purpose) or DIFFERS."""
    pairs = []
    for key in dict.fromkeys((*ours, *theirs)):
        mine, other = ours.get(key), theirs.get(key)
        why = compared(mine, other)
        status = [one["status"] if one else "never asked" for one in (mine, other)]
        meant = key[1] in APART and tuple(status) in APART[key[1]][0]
        verdict = "same" if not why else "apart" if meant else "DIFFERS"
        said = [one["said"] if one else "" for one in (mine, other)]
        pairs.append(
            {"protocol": key[0], "call": key[1], "verdict": verdict, "why": why, "status": status, "said": said}
        )
    return pairs


def compared(mine: dict[str, Any] | None, other: dict[str, Any] | None) -> str:
    """Why two outcomes are not the same; nothing when they are."""
    if mine is None or other is None:
        return "one was never asked"
    if mine["status"] != other["status"]:
        return f"status {mine['status']}, Triton {other['status']}"
    if mine["facts"] != other["facts"]:
        return f"{mine['facts']}, Triton {other['facts']}"
    if set(mine["arrays"]) != set(other["arrays"]):
        return f"outputs {sorted(mine['arrays'])}, Triton {sorted(other['arrays'])}"
    for name, value in mine["arrays"].items():
        theirs = other["arrays"][name]
        if (value["dtype"], value["shape"]) != (theirs["dtype"], theirs["shape"]):
            return f"{name} {value['dtype']} {value['shape']}, Triton {theirs['dtype']} {theirs['shape']}"
        if "text" in value:
            if value["text"] != theirs["text"]:
                return f"{name} {value['text']}, Triton {theirs['text']}"
        elif not np.allclose(array(value), array(theirs), atol=1e-6, rtol=1e-6):
            return f"{name} differs by {np.abs(array(value) - array(theirs)).max():.2g}"
    return ""


def array(record: dict[str, Any]) -> Any:
    return np.frombuffer(base64.b64decode(record["data"]), record["dtype"]).astype(np.float64)


def show(pairs: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys((pair["model"], pair["protocol"]) for pair in pairs))
    marks = {"same": "ok", "apart": "apart", "DIFFERS": "DIFFERS"}
    print("\nsaccade beside Triton: ok is the same status and the same answer\n")
    print(f"{'call':38}" + "".join(f"{model[:7] + ' ' + protocol:>17}" for model, protocol in columns))
    for call in dict.fromkeys(pair["call"] for pair in pairs):
        held = {(p["model"], p["protocol"]): marks[p["verdict"]] for p in pairs if p["call"] == call}
        print(f"{call:38}" + "".join(f"{held.get(column, ''):>17}" for column in columns))
    same = sum(pair["verdict"] == "same" for pair in pairs)
    print(f"\n{same} of {len(pairs)} the same")
    for call, (_, why) in APART.items():
        apart = [p for p in pairs if p["call"] == call and p["verdict"] == "apart"]
        if apart:
            print(f"apart: {call}: {apart[0]['why']}; {why}")
    for pair in pairs:
        if pair["verdict"] == "DIFFERS":
            print(f"DIFFERS {pair['model']} {pair['protocol']}: {pair['call']}: {pair['why']} {pair['said']}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{(error.stderr or b'').decode(errors='replace')[-2000:]}")
