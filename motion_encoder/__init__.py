"""Human-motion encoders: DSTformer, its heads, and lifting of 2D keypoints to 3D motion."""

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
