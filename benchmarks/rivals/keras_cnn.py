"""The tutorial network in Keras on TensorFlow, one training step after another. Runs in an environment of its own.

python keras_cnn.py BATCH SIZE CLASSES STEPS

Prints images a second. The pictures wait in memory as tensors; the step is Keras's own compiled train step.
"""

import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf


def main() -> None:
    batch, size, classes, steps = (int(a) for a in sys.argv[1:])
    parts = [keras.layers.Input((size, size, 3))]
    for filters in (32, 64, 128):
        parts += [keras.layers.Conv2D(filters, 3, padding="same", activation="relu"), keras.layers.MaxPooling2D()]
    parts += [
        keras.layers.Flatten(),
        keras.layers.Dense(128, "relu"),
        keras.layers.Dense(classes, "softmax"),
    ]
    network = keras.Sequential(parts)
    network.compile("adam", "sparse_categorical_crossentropy")
    images = tf.constant(np.random.rand(batch, size, size, 3).astype("float32"))
    targets = tf.constant(np.random.randint(0, classes, batch))
    for _ in range(3):
        network.train_on_batch(images, targets)
    start = time.perf_counter()
    for _ in range(steps):
        network.train_on_batch(images, targets)
    print(batch * steps / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
