"""A trained network as a SavedModel: one signature for pixels, one for encoded pictures, the calibrated tail inside."""

from pathlib import Path
from typing import Any

from saccade.tasks.keras import tf
from saccade.training.trainers.keras.export import Sealed


class Served(tf.Module):
    """What stands in the folder: the sealed network, and the ways to ask it."""

    def __init__(self, sealed: Sealed) -> None:
        super().__init__("served")
        self.sealed = sealed
        # Hazard: TensorFlow does not see the layers that a layer of ours keeps in lists of lists.
        self.weights = [v.value for v in sealed.network.variables]
        (given,) = sealed.answer.input_signature
        self._height, self._width = given.shape[1], given.shape[2]
        self.pixels = tf.function(self._pixels, input_signature=[given])
        self.encoded = tf.function(
            self._encoded, input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")]
        )

    def _pixels(self, image: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.sealed.answer(image)
        return self.sealed.half.served(found) if hasattr(self.sealed.half, "served") else found

    def _encoded(self, image_bytes: Any) -> dict[str, Any]:
        """JPEG, PNG, GIF or BMP, stretched to the input by area: what callers without saccade can do.
        EXIF is not looked at."""
        images = tf.map_fn(self._decoded, image_bytes, fn_output_signature=tf.uint8)
        images.set_shape([None, self._height, self._width, 3])
        return self._pixels(images)

    def _decoded(self, data: Any) -> Any:
        picture = tf.io.decode_image(data, channels=3, expand_animations=False)
        picture.set_shape([None, None, 3])
        resized = tf.image.resize(picture, [self._height, self._width], "area")
        return tf.cast(tf.round(resized), tf.uint8)


def write(sealed: Sealed, folder: Path, stretched: bool = True) -> None:
    """Signatures `serving_default` (image: uint8 [N, H, W, 3]) and `encoded` (image_bytes: string [N]).

    stretched: whether the package's pictures are; where they are cropped or framed there is no `encoded`, which would
    answer for other pixels.
    """
    served = Served(sealed)
    signatures = {"serving_default": served.pixels} | ({"encoded": served.encoded} if stretched else {})
    tf.saved_model.save(served, str(folder), signatures)
