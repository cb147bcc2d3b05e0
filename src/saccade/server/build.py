"""Puts the house together: settings to an engine, and an engine to the application that answers for it."""

import logging
import sys
from collections.abc import Callable, Sequence

from saccade import confine
from saccade.errors import SaccadeError, UsageError
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.pressure import Pressure
from saccade.inference.request import Answer
from saccade.protocols.native.http import Native
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.protocol import Control, Protocol
from saccade.protocols.shims.custom_vision import CustomVision
from saccade.protocols.shims.torchserve import TorchServe
from saccade.protocols.tf_serving.http import TensorFlowServing
from saccade.server.app import App
from saccade.server.console import views
from saccade.server.keys import Keys
from saccade.server.metrics import Metrics
from saccade.server.offenders import Offenders
from saccade.server.settings import Settings
from saccade.server.state import State

log = logging.getLogger("saccade.server")


def build(
    settings: Settings,
    engine: Engine,
    *,
    keys: Keys | None = None,
    metrics: Metrics | None = None,
    state: State | None = None,
    protocols: Sequence[Protocol] | None = None,
    control: Control | None = None,
) -> App:
    """The application over an engine. state: given by whoever starts and drains; default is started.

    protocols: default those that the settings name, beside the native one. control: loads and unloads for them.
    """
    if state is None:
        state = State()
        state.started = True
    state.engine = engine
    metrics, offenders = metrics or Metrics(), Offenders()

    def observe(name: str, version: str, what: Answer | SaccadeError, seconds: float, caller: str | None) -> None:
        metrics.observe(name, version, what, seconds)
        offenders.count(caller, what)

    engine.observer = observe
    spoken = speak(settings, control or Control()) if protocols is None else protocols
    routes = [route for protocol in spoken for route in protocol.routes(engine)]
    part = "public" if settings.admin_port else "whole"
    held = keys or Keys(settings.home)
    shown = views.routes(engine, metrics=part == "whole")
    return App(settings, engine, [*routes, *shown], held, metrics, state, spoken, part, offenders)


def speak(settings: Settings, control: Control) -> list[Protocol]:
    """The native API and the dialects that the settings name. Raises UsageError for an unknown one."""
    known: dict[str, Callable[[], Protocol]] = {
        "open_inference": lambda: OpenInference(settings.body_bytes, control, settings.oip_style),
        "tf_serving": lambda: TensorFlowServing(settings.body_bytes),
        "torchserve": lambda: TorchServe(settings.body_bytes, control),
        "custom_vision": lambda: CustomVision(settings.body_bytes),
    }
    strange = [name for name in settings.protocols if name not in known]
    if strange:
        raise UsageError(f"protocols has {strange[0]!r}, there are {', '.join(known)}")
    return [Native(settings.body_bytes), *(known[name]() for name in settings.protocols)]


def make_engine(settings: Settings) -> Engine:
    options = Options(
        variant=settings.variant,
        device=settings.device,
        threads=settings.graph_threads,
        runners=settings.runners,
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        max_wait_s=settings.max_wait_s,
        objective_s=settings.p99_s,
        tuning=settings.home / "tuning",
        isolation=settings.isolation,
        replicas=settings.replicas,
        hang_s=settings.hang_s,
    )
    return Engine(
        options,
        decode_threads=settings.decode_threads,
        decode_isolation=_decodes_in(settings),
        max_images=settings.max_images,
        max_deadline_s=settings.deadline_cap_s,
        pressure=Pressure() if settings.memory_guard else None,
    )


def _decodes_in(settings: Settings) -> str:
    """Where pictures are decoded: none is this process. Says what "auto" came to where strangers can connect."""
    if settings.decode_isolation != "auto":
        return settings.decode_isolation
    if settings.loopback:
        return "none"
    try:
        confine.check()
    except UsageError as error:
        if sys.platform == "linux":
            raise UsageError(
                f"strangers can connect, and the decoders of their pictures cannot be confined: {error}",
                hint="allow Landlock and seccomp to this process, or give --decode-isolation none",
            ) from error
        log.warning("pictures of strangers are decoded in this process: only Linux can confine decoders")
        return "none"
    log.info("pictures are decoded in confined processes, for this address is open to strangers")
    return "process"
