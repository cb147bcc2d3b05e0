"""A run in memory in Keras, and how it is opened from recipe, data and task."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saccade.errors import UsageError
from saccade.tasks.keras import arrays, fill, keras, load_file, tf
from saccade.tasks.task import Task
from saccade.training import earlier, given
from saccade.training.learner import Moving
from saccade.training.outset import half_of, other_sizes, refuse_mixing, refused_size
from saccade.training.plans import OWN
from saccade.training.recipe import Recipe
from saccade.training.trainers.keras import applications, networks, user
from saccade.training.trainers.keras.batches import Pack
from saccade.training.trainers.keras.ema import Average
from saccade.training.trainers.keras.optimizers import Optimizer
from saccade.types import Labels

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@dataclass(kw_only=True)
class Session(Moving):
    """A run in memory. judged: the same network in float32, for validation and export."""

    network: Any
    judged: Any
    optimizer: Optimizer
    average: Average | None
    options: dict[str, Any]


def keras_half(task: Task) -> Any:
    return half_of(task, "keras")


def machine(recipe: Recipe) -> tuple[str, bool]:
    """The device a run would take, and whether it multiplies bfloat16 natively. TensorFlow does
    not ask a CPU: float32."""
    if tf.config.list_physical_devices("GPU") and recipe.device != "cpu":
        return "cuda", True
    return "cpu", False


def set_threads(recipe: Recipe) -> None:
    """Before TensorFlow's first operation only; later it keeps those it began with."""
    wanted = int(recipe.threads)
    if tf.config.threading.get_intra_op_parallelism_threads() == wanted:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(wanted)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, wanted))
    except RuntimeError:
        return


def build(
    recipe: Recipe, half: Any, labels: Labels, width: int, height: int, weights: str, precision: str = "float32"
) -> tuple[Any, list[str]]:
    """The whole network, its variables made, and lines on where its weights come from and what was changed."""
    keras.utils.set_random_seed(recipe.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[precision])
    try:
        network, said = _made(recipe, half, labels, width, height, weights)
        network(tf.zeros((1, height, width, 3)), training=False)
    finally:
        keras.config.set_dtype_policy(before)
    lines, file = said
    return network, [*lines, f"weights: {load_file(network, file)}"] if file is not None else lines


def _made(
    recipe: Recipe, half: Any, labels: Labels, width: int, height: int, weights: str
) -> tuple[Any, tuple[list[str], Path | None]]:
    """The network, what is to be said of it, and the file its weights are still to come from."""
    options = asdict(recipe)
    found = half.whole(recipe.network, labels, width, height) if hasattr(half, "whole") else None
    if found is not None:
        body, head = found
        return networks.Network(body, head, 0.0), _words(weights)
    if given.is_given(recipe.network):
        body, words = user.body(recipe.network, half, labels, width, height)
        said, file = _words(weights)
        return networks.Network(body, None, 0.0, prepare=lambda images: images), ([words, *said], file)
    dropout = recipe.dropout if half.FEATURES == "pooled" else 0.0
    if recipe.network in OWN:
        body, features = networks.backbone(recipe, width, height, half.FEATURES)
        return networks.Network(body, half.head(features, labels, options), dropout), _words(weights)
    sides = networks.sides_of(recipe, width, height)
    body, features, prepare, line = applications.backbone(recipe.network, weights, sides, half.FEATURES)
    return networks.Network(body, half.head(features, labels, options), dropout, prepare), ([f"weights {line}"], None)


def _words(weights: str) -> tuple[list[str], Path | None]:
    if weights not in ("none", "auto"):
        return [], Path(weights)
    why = " (this network has no pretrained ones)" if weights == "auto" else ""
    return [f"weights from scratch{why}"], None


def begun(recipe: Recipe, half: Any, labels: Labels, begins: bool) -> tuple[Any, list[str]]:
    """The network a run starts or goes on with, and lines on where its weights come from."""
    width, height = int(recipe.width), int(recipe.height)
    if not begins:
        network, _ = build(recipe, half, labels, width, height, "none", recipe.precision)
        return network, ["weights of this run's last checkpoint"]
    start = earlier.read(recipe)
    if start is None:
        return build(recipe, half, labels, width, height, recipe.weights, recipe.precision)

    def shapes(others: Labels) -> earlier.Shapes:
        return {k: v.shape for k, v in arrays(build(recipe, half, others, width, height, "none")[0]).items()}

    network, _ = build(recipe, half, labels, width, height, "none", recipe.precision)
    weights, words = earlier.begin(start, arrays(network), labels, shapes)
    fill(network, weights)
    return network, [words]


def open_session(
    recipe: Recipe, labels: Labels, task: Task, train: Pack, said: list[str], begins: bool = True
) -> Session:
    """begins: from the weights the recipe names, not from a checkpoint that will be filled in."""
    half = keras_half(task)
    if recipe.device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise UsageError("no CUDA device is to be seen", hint="use --device cpu, or install tensorflow[and-cuda]")
    refuse_mixing(recipe, train.targets)
    width, height = int(recipe.width), int(recipe.height)
    network, words = begun(recipe, half, labels, begins)
    if not recipe.one_size:
        try:
            for sides in other_sizes(recipe):
                network(tf.zeros((1, *sides, 3)), training=False)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise refused_size(recipe, error) from error
    judged, _ = build(recipe, half, labels, width, height, "none")
    said.extend(words)
    balanced = half.class_weights(train.targets, labels)
    return Session(
        recipe=recipe,
        task=task,
        half=half,
        labels=labels,
        network=network,
        judged=judged,
        optimizer=Optimizer(recipe, network.trainable_variables),
        average=Average(network.variables, float(recipe.ema)) if float(recipe.ema) else None,
        options={**asdict(recipe), "class_weights": balanced if recipe.class_weights == "balanced" else None},
        micro=min(int(recipe.batch), 256),
        rate=0.0 if recipe.rate == "find" else float(recipe.rate),
    )
