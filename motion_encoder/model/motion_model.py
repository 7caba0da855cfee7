"""What every stored model offers, so that saving, export, serving and evaluation need to know no task.

An encoder and a 3D pose model are a plain ``DSTformer``; a task with a head of its own puts an encoder and that head
into a subclass of ``MotionModel``.

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
    """Where the weights come from and how they score; empty until they are loaded."""
    dimensions: ClassVar[tuple[str, ...]] = ("clips", "frames")
    """Leading dimensions of the input, before joints and channels: also ``people`` where several share a clip."""
    output_names: ClassVar[tuple[str, ...]]
    """Names of what ``outputs`` returns, in the order of an exported file."""
    prediction_shape: ClassVar[tuple[int, ...]]
    """Shape of what ``predict`` returns; -1 where it depends on the input."""

    @abstractmethod
    def head_settings(self) -> dict[str, Any]:
        """Return what ``from_settings`` needs besides the encoder, as JSON can hold it."""

    @classmethod
    @abstractmethod
    def from_settings(cls, encoder: Any, settings: Mapping[str, Any]) -> "MotionModel":
        """Build the model on a ``DSTformer``, under ``torch.device("meta")``: its weights are loaded afterwards.

        Raises:
            ValueError: settings that this class did not write.
        """

    @abstractmethod
    def outputs(self, keypoints: Tensor, valid: Bool[Tensor, "B T"] | None = None) -> dict[str, Tensor]:
        """Return every output by its name in ``output_names``; an exported file holds them all.

        Args:
            keypoints: float32 [``dimensions``..., J, 3]: x and y in window units, and confidence.
            valid: the frames that are no padding; all if it is left out.
        """

    @abstractmethod
    def predict(self, x_BTJC: Float[Tensor, "B T J C"]) -> Tensor:
        """Return the model's answer for one person per clip: what a pulled model serves."""
