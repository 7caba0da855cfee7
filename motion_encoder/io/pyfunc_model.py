"""The code that MLflow runs to load one of our models: ``mlflow.pyfunc.load_model(uri).predict(x)``.

MLflow stores this file as the model's code and executes it on loading ("models from code"), so that nothing is pickled.
With it, MLflow stores the model folder as the artifact ``model``, and this package; the machine that loads the model
needs mlflow, numpy, torch and safetensors. Do not import this file: executing it sets MLflow's current model.

Shapes: B clips, T frames, J joints, C channels.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class PulledModel(PythonModel):
    """A model folder behind MLflow's interface, one person per clip."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights. torch is imported only here, on the machine that predicts."""
        from motion_encoder.io.checkpoints import describe_folder, load_folder

        folder = Path(context.artifacts["model"])
        if module := describe_folder(folder).module:
            importlib.import_module(module)  # registers the task; the module was logged with the model, like this file
        self._model = load_folder(folder)

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # MLflow's own returns nothing
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Return the result of the model's ``predict``: 3D motion in window units, logits, ...

        ``model_input``: float32 [B, T, 17, 3]: x and y in window units, and confidence.
        """
        import torch

        x_BTJC = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        with torch.inference_mode():
            return self._model.predict(x_BTJC).numpy()


set_model(PulledModel())
