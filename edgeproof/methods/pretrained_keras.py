"""Start from Keras weights that you trained elsewhere: a .keras, .weights.h5 or safetensors file.

Nothing is trained, and only the weights of the file are read: the network is that of the study.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from edgeproof.core.errors import DataError
from edgeproof.models import weight_files
from edgeproof.models.training_task import TrainingTask

FRAMEWORK = "keras"
# The option that names the user's file, on which the model depends.
FILE_OPTION = "weights"


class Options(BaseModel):
    """Options of the method, set in conf/methods/pretrained_keras.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Annotated[str, StringConstraints(pattern=r"\.(keras|weights\.h5|safetensors)$")] = Field(
        description="the file of weights: .keras, .weights.h5 or .safetensors"
    )
    sha256: weight_files.Sha256 = Field(description="SHA-256 of the file")


def apply(model: Any, task: TrainingTask, **options: object) -> Any:
    """Load the file's weights into the keras.Model `model`.

    Raises DataError for another file than the one that `sha256` names, and for one that is damaged. Raises ConfigError
    for weights that do not fit the network.
    """
    from edgeproof.models import keras_weights

    chosen = Options.model_validate(options)
    path = Path(chosen.weights)
    weight_files.verify_sha256(path, chosen.sha256, "the option 'sha256'")
    if path.suffix == weight_files.SAFETENSORS:
        keras_weights.load_named(model, weight_files.read_weights(path), path, weight_files.CURE)
    else:
        keras_weights.load_file(model, path, weight_files.CURE)
    for variable in model.variables:
        values = variable.numpy()
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"{path}: '{variable.path}' holds NaN or infinity. Save the weights again.")
    return model
