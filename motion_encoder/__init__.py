"""Human-motion encoders: DSTformer, its heads, and lifting of 2D keypoints to 3D motion.

Each name is imported when it is first used (PEP 562), because PyTorch takes several seconds to import: ``import
motion_encoder`` and ``motion_encoder.skeletons`` take a tenth of a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motion_encoder.action_input import make_action_input, make_published_action_input
    from motion_encoder.cards import ModelCard
    from motion_encoder.finetuning import PartialFinetuning
    from motion_encoder.io.checkpoints import load_folder, save, save_file
    from motion_encoder.io.foreign_checkpoints import save_mmpose, save_official
    from motion_encoder.io.loading import describe, load
    from motion_encoder.lifting import LiftedMotion, LiftOptions, lift
    from motion_encoder.model.dstformer import SIZES, DSTformer, DSTformerConfig, EncoderSize
    from motion_encoder.model.heads import ActionHead, ActionHeadConfig, ActionModel
    from motion_encoder.model.motion_model import MotionModel

__all__ = [
    "SIZES",
    "ActionHead",
    "ActionHeadConfig",
    "ActionModel",
    "DSTformer",
    "DSTformerConfig",
    "EncoderSize",
    "LiftOptions",
    "LiftedMotion",
    "ModelCard",
    "MotionModel",
    "PartialFinetuning",
    "describe",
    "lift",
    "load",
    "load_folder",
    "make_action_input",
    "make_published_action_input",
    "save",
    "save_file",
    "save_mmpose",
    "save_official",
]

_MODULES = {
    "action_input": ("make_action_input", "make_published_action_input"),
    "cards": ("ModelCard",),
    "finetuning": ("PartialFinetuning",),
    "io.checkpoints": ("load_folder", "save", "save_file"),
    "io.foreign_checkpoints": ("save_mmpose", "save_official"),
    "io.loading": ("describe", "load"),
    "lifting": ("LiftOptions", "LiftedMotion", "lift"),
    "model.dstformer": ("SIZES", "DSTformer", "DSTformerConfig", "EncoderSize"),
    "model.heads": ("ActionHead", "ActionHeadConfig", "ActionModel"),
    "model.motion_model": ("MotionModel",),
}
"""The public names of each module: the same as the imports above, but for use at run time."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    Raises:
        AttributeError: the name does not exist.
    """
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return all names, including those that are not imported yet."""
    return sorted({*globals(), *__all__})
