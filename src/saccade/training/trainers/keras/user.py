"""A `keras.Model` of the user's own: checked for type and shape, and taken without its last softmax or sigmoid."""

from typing import Any

from saccade.tasks.keras import keras, tf
from saccade.training import given
from saccade.types import Labels

ENDS = ("softmax", "sigmoid")


def body(name: str, half: Any, labels: Labels, width: int, height: int) -> tuple[Any, str]:
    """From images [N, H, W, 3] in 0..1 to raw scores, and a line on what was done. Raises UsageError."""
    wanted = half.answers(labels, width, height)
    if wanted is None:
        given.refuse_task(name)
    model = given.make(name, width, height, len(labels))
    if not isinstance(model, keras.Model):
        given.refuse_type(name, model, "keras.Model")
    meaning = f"{len(labels)} values, one a class ({', '.join(labels.names[:3])}{', ...' if len(labels) > 3 else ''})"
    try:
        answer = model(tf.zeros((2, height, width, 3)), training=False)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's network raises is told
        given.refuse_shape(name, f"{type(error).__name__}: {str(error).splitlines()[0]}", wanted, meaning)
    shape = tuple(answer.shape) if isinstance(answer, tf.Tensor) else f"{type(answer).__name__}"
    if not isinstance(shape, tuple) or shape[1:] != tuple(wanted):
        given.refuse_shape(name, ("N", *shape[1:]) if isinstance(shape, tuple) else shape, wanted, meaning)
    return _raw(model, name)


def _raw(model: Any, name: str) -> tuple[Any, str]:
    """Losses and calibration want the scores before softmax."""
    last: Any = model.layers[-1] if model.layers else None
    activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    if activation not in ENDS:
        return model, f"network  {name}, its last layer taken as raw scores"
    said = f"network  {name}, without its last {activation}: loss and calibration work on raw scores"
    if isinstance(last, keras.layers.Activation | keras.layers.Softmax):
        return keras.Model(model.inputs, last.input), said
    last.activation = keras.activations.linear
    # A functional model would run the graph it was made with: made again, it asks the layer.
    return model, said
