"""Human-motion encoders: DSTformer, its heads, and lifting of 2D keypoints to 3D motion.

A name is imported when it is first used (PEP 562): ``import motion_encoder`` and ``motion_encoder.skeletons`` take a
tenth of a second, PyTorch takes several seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motion_encoder.cards import ModelCard as ModelCard
    from motion_encoder.finetuning import PartialFinetuning as PartialFinetuning
    from motion_encoder.io.checkpoints import load_folder as load_folder
    from motion_encoder.io.checkpoints import save as save
    from motion_encoder.io.checkpoints import save_file as save_file
    from motion_encoder.io.foreign_checkpoints import save_mmpose as save_mmpose
    from motion_encoder.io.foreign_checkpoints import save_official as save_official
    from motion_encoder.io.loading import load as load
    from motion_encoder.lifting import LiftedMotion as LiftedMotion
    from motion_encoder.lifting import LiftOptions as LiftOptions
    from motion_encoder.lifting import lift as lift
    from motion_encoder.model.dstformer import SIZES as SIZES
    from motion_encoder.model.dstformer import DSTformer as DSTformer
    from motion_encoder.model.dstformer import DSTformerConfig as DSTformerConfig
    from motion_encoder.model.heads import ActionHead as ActionHead
    from motion_encoder.model.heads import ActionHeadConfig as ActionHeadConfig
    from motion_encoder.model.heads import ActionModel as ActionModel

PUBLIC = {
    "ActionHead": "model.heads",
    "ActionHeadConfig": "model.heads",
    "ActionModel": "model.heads",
    "DSTformer": "model.dstformer",
    "DSTformerConfig": "model.dstformer",
    "LiftOptions": "lifting",
    "LiftedMotion": "lifting",
    "ModelCard": "cards",
    "PartialFinetuning": "finetuning",
    "SIZES": "model.dstformer",
    "lift": "lifting",
    "load": "io.loading",
    "load_folder": "io.checkpoints",
    "save": "io.checkpoints",
    "save_file": "io.checkpoints",
    "save_mmpose": "io.foreign_checkpoints",
    "save_official": "io.foreign_checkpoints",
}
"""The module of each public name, as the imports above say it to type checkers."""


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
