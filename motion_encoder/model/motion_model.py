"""The interface of every stored model, so that saving, export, serving and evaluation work for any task.

An encoder and a 3D pose model are a plain ``DSTformer``. A task with a head of its own defines a subclass of
``MotionModel`` that contains the encoder and the head.

Shapes: B clips, T frames, J joints, C channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from motion_encoder.cards import ModelCard
from motion_encoder.shapes import Bool, Float


class MotionModel(nn.Module, ABC):
    """A network on 2D keypoints that can be saved, exported and served."""

    encoder: Any
    """The ``DSTformer`` within the model, which is itself a ``MotionModel``."""
    card = ModelCard()
    """Where the weights come from and how they score; empty until weights are loaded."""
    dimensions: ClassVar[tuple[str, ...]] = ("clips", "frames")
    """Names of the input's dimensions before joints and channels; includes ``people`` if several share a clip."""
    output_names: ClassVar[tuple[str, ...]]
    """Names of the outputs, in the order of an exported file."""
    prediction_shape: ClassVar[tuple[int, ...]]
    """Shape of the result of ``predict``; -1 for dimensions that depend on the input."""

    @abstractmethod
    def head_settings(self) -> dict[str, Any]:
        """Return what ``from_settings`` needs besides the encoder, as JSON values."""

    @classmethod
    @abstractmethod
    def from_settings(cls, encoder: Any, settings: Mapping[str, Any]) -> "MotionModel":
        """Build the model on a ``DSTformer``, under ``torch.device("meta")``; its weights are loaded afterwards.

        Raises:
            ValueError: the settings were not written by this class.
        """

    @abstractmethod
    def outputs(self, keypoints: Tensor, valid: Bool[Tensor, "B T"] | None = None) -> dict[str, Tensor]:
        """Return every output by its name in ``output_names``; an exported file has all of them.

        Args:
            keypoints: float32 [``dimensions``..., J, 3]: x and y in window units, and confidence.
            valid: the frames that are not padding; all frames by default.
        """

    @abstractmethod
    def predict(self, x_BTJC: Float[Tensor, "B T J C"]) -> Tensor:
        """Return the model's prediction for one person per clip; this is what a registered model serves."""
