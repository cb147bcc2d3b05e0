"""The process of one SavedModel: opens it as TensorFlow Serving does, and answers until its pipes are closed.

python -m saccade.inference.runtimes.tensorflow.worker PARENT FOLDER DEVICE THREADS READ:WRITE...
"""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from saccade.inference.runtimes.tensorflow import savedmodel
from saccade.inference.runtimes.tensorflow.savedmodel import Refused
from saccade.inference.runtimes.tensorflow.wire import Channel, Ended
from saccade.process import settle_child

LOOK_S = 0.2


def opened(folder: Path, device: str, threads: int, callers: int) -> tuple[Any, dict[str, Any]]:
    """A function of named arrays, and what it takes and gives. Raises Refused."""
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        raise Refused(f"TensorFlow here has no device {device!r}", "not_found")
    graph = savedmodel.read(folder)
    signature = savedmodel.chosen(graph)
    facts = {"inputs": savedmodel.specs(signature.inputs), "outputs": savedmodel.specs(signature.outputs)}
    savedmodel.refuse_outside(graph, signature)
    how = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads * callers,
        inter_op_parallelism_threads=callers,
        allow_soft_placement=True,
    )
    session = tf.compat.v1.Session(graph=tf.Graph(), config=how)
    try:
        with session.graph.as_default():
            tf.compat.v1.saved_model.load(session, [savedmodel.SERVE], str(folder))
        feeds = [(name, signature.inputs[name].name) for name, _, _ in facts["inputs"]]
        fetches = {name: signature.outputs[name].name for name, _, _ in facts["outputs"]}
        call = session.make_callable(fetches, [session.graph.get_tensor_by_name(t) for _, t in feeds])
    except Exception as error:
        # Whatever the loader throws at a damaged folder, the folder is at fault.
        raise Refused("the SavedModel cannot be opened") from error
    return lambda arrays: call(*[arrays[name] for name, _ in feeds]), facts


def serve(channel: Channel, call: Any) -> None:
    """One caller's questions, one after the other, until it closes the pipe."""
    with contextlib.suppress(Ended):
        while True:
            _, arrays = channel.receive()
            try:
                answers = call(arrays)
            except Exception as error:  # noqa: BLE001 - the library's errors share no base; the caller hears it failed
                sys.stderr.write(f"{type(error).__name__}: {error}"[:2000] + "\n")
                sys.stderr.flush()
                channel.send({"failed": type(error).__name__})
                continue
            channel.send({}, answers)


def main(arguments: list[str]) -> int:
    parent, folder, device, threads, *pairs = arguments
    settle_child()
    channels = [Channel(*(int(handle) for handle in pair.split(":"))) for pair in pairs]
    try:
        call, facts = opened(Path(folder), device, int(threads), len(channels))
    except Refused as error:
        channels[0].send({"refused": str(error), "code": error.code})
        return 1
    channels[0].send({**facts, "version": tf.__version__})
    callers = [threading.Thread(target=serve, args=(c, call), daemon=True) for c in channels]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        # A graph that never ends would not see that the other ends of its pipes are gone.
        if os.getppid() != int(parent):
            break
        time.sleep(LOOK_S)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # TensorFlow's threads may outlive the interpreter and crash in its last moments; nothing here needs cleaning.
    os._exit(code)
