"""resnet8 in Keras: the same layers and sizes in the layout of TensorFlow (N, H, W, C), with its "same" padding.

It shows what training and conversion by TensorFlow give, next to models trained in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from edgeproof.core.ports import Port

FRAMEWORK = "keras"
KIND = "image_classifier"


class Options(BaseModel):
    """Options of the network, set in conf/networks/keras_resnet8.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    widths: tuple[PositiveInt, ...] = Field(min_length=1, description="channels of each block")
    stem_stride: int = Field(ge=1, le=4, description="stride of the first convolution; 2 halves the resolution")


def build(inputs: Sequence[Port], outputs: Sequence[Port], *, widths: Sequence[int], stem_stride: int) -> Any:
    """Build the keras.Model with random weights for one image (channels, height, width) and one output of classes."""
    import keras
    from keras import layers

    channels, height, width = inputs[0].shape

    def convolve(x: Any, size: int, name: str, *, kernel: int = 3, stride: int = 1) -> Any:
        x = layers.Conv2D(size, kernel, stride, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)

    images = keras.Input((height, width, channels), name="images")
    x = layers.ReLU(name="stem_relu")(convolve(images, widths[0], "stem", stride=stem_stride))
    for number, size in enumerate(widths):
        name, stride = f"block_{number}", 1 if number == 0 else 2
        y = layers.ReLU(name=f"{name}_relu")(convolve(x, size, f"{name}_conv1", stride=stride))
        y = convolve(y, size, f"{name}_conv2")
        if stride != 1 or x.shape[-1] != size:
            x = convolve(x, size, f"{name}_shortcut", kernel=1, stride=stride)
        x = layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([y, x]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(outputs[0].size, name="classifier")(x), name="keras_resnet8")
