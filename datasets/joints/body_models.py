"""SMPL, SMPL+H and SMPL-X: from shape and pose parameters to joints and vertices, by linear-blend skinning in numpy.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", 2015, section 3; the two others (Romero et al. 2017, Pavlakos
et al. 2019) add joints to the same equations. ``body_model_files`` reads the models as their makers publish them.

At rest, a body is upright along +Y with its left side at +X. ``trans`` moves the body as a whole and is not the
position of the pelvis: that is its position at rest, which depends on the shape, plus ``trans``.

Shapes: T frames, N joints of the model, V vertices, B shape coefficients (betas), P = 9 (N - 1) pose features,
K joints of a regressor. Poses are rotation vectors, radians; everything else is metres.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from datasets.joints.kinematics import world_positions, world_rotations
from motion_encoder.shapes import Float, Int

CHUNK_VERTICES = 400_000
"""Vertices times frames that are skinned at a time: about 35 MB."""
CHUNK_FRAMES = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class BodyModel:
    """One model of one gender; parents come before their children."""

    path: str
    parents: tuple[int, ...]
    joints_N3: Float[np.ndarray, "N 3"]
    """Vertices of the mean shape at rest."""
    joint_shapes_N3B: Float[np.ndarray, "N 3 B"]
    """Displacement of the vertices per shape coefficient."""
    template_V3: Float[np.ndarray, "V 3"]
    shapes_V3B: Float[np.ndarray, "V 3 B"]
    poses_V3P: Float[np.ndarray, "V 3 P"]
    weights_VN: Float[np.ndarray, "V N"]

    @property
    def num_betas(self) -> int:
        """Number of shape coefficients, B."""
        return self.joint_shapes_N3B.shape[-1]

    def only(self, vertices_U: Int[np.ndarray, "U"]) -> "BodyModel":
        """Return the same body with only some of its vertices, to reduce the cost of skinning."""
        return replace(
            self,
            template_V3=self.template_V3[vertices_U],
            shapes_V3B=self.shapes_V3B[vertices_U],
            poses_V3P=self.poses_V3P[vertices_U],
            weights_VN=self.weights_VN[vertices_U],
        )


def rest_joints(model: BodyModel, betas_B: Float[np.ndarray, "B"]) -> Float[np.ndarray, "N 3"]:
    """Return the joints of a body of this shape at rest; coefficients that are not given are 0.

    Raises:
        ValueError: More coefficients than the model has.
    """
    if len(betas_B) > model.num_betas:
        raise ValueError(f"betas: expected at most {model.num_betas}, as {model.path} has, found {len(betas_B)}")
    return model.joints_N3 + model.joint_shapes_N3B[..., : len(betas_B)] @ betas_B


def pose_joints(
    model: BodyModel,
    poses_TN3: Float[np.ndarray, "T N 3"],
    betas_B: Float[np.ndarray, "B"],
    trans_T3: Float[np.ndarray, "T 3"],
) -> Float[np.ndarray, "T N 3"]:
    """Return the joints of the model; no vertices are needed."""
    rest_N3 = rest_joints(model, betas_B)
    parts = [
        _stand(model, rest_N3, _rotations(poses_TN3[frames]))[1] for frames in _chunks(len(poses_TN3), CHUNK_FRAMES)
    ]
    return np.concatenate(parts) + trans_T3[:, None]


def pose_vertices(
    model: BodyModel,
    poses_TN3: Float[np.ndarray, "T N 3"],
    betas_B: Float[np.ndarray, "B"],
    trans_T3: Float[np.ndarray, "T 3"],
) -> Float[np.ndarray, "T V 3"]:
    """Return the vertices as float32, pose blend shapes included.

    A frame of 6,890 vertices takes 83 kB, and six times as much during the computation: pass long motions in pieces.
    """
    rest_N3 = rest_joints(model, betas_B)
    local_TN33 = _rotations(poses_TN3)
    world_TN33, joints_TN3 = _stand(model, rest_N3, local_TN33)
    features_TP = (local_TN33[:, 1:] - np.eye(3)).reshape(len(poses_TN3), -1).astype(np.float32)
    shaped_V3 = model.template_V3 + model.shapes_V3B[..., : len(betas_B)] @ betas_B.astype(np.float32)
    posed_TV3 = (features_TP @ model.poses_V3P.reshape(-1, features_TP.shape[1]).T).reshape(-1, *shaped_V3.shape)
    posed_TV3 += shaped_V3
    shift_TN3 = joints_TN3 - np.einsum("tnij,nj->tni", world_TN33, rest_N3)
    moves_TN12 = np.concatenate([world_TN33, shift_TN3[..., None]], axis=-1).reshape(*joints_TN3.shape[:2], 12)
    blend_TV34 = (model.weights_VN @ moves_TN12.astype(np.float32)).reshape(*posed_TV3.shape, 4)
    turned_TV3 = np.einsum("tvij,tvj->tvi", blend_TV34[..., :3], posed_TV3)
    return turned_TV3 + blend_TV34[..., 3] + trans_T3[:, None].astype(np.float32)


def regress_joints(
    model: BodyModel,
    regressor_KV: Float[np.ndarray, "K V"],
    poses_TN3: Float[np.ndarray, "T N 3"],
    betas_B: Float[np.ndarray, "B"],
    trans_T3: Float[np.ndarray, "T 3"],
) -> Float[np.ndarray, "T K 3"]:
    """Return joints that are weighted sums of vertices; only vertices with a weight are skinned, in pieces."""
    used_U = np.flatnonzero(regressor_KV.any(axis=0))
    part, regressor_KU = model.only(used_U), regressor_KV[:, used_U].astype(np.float32)
    frames_at_a_time = min(CHUNK_FRAMES, max(1, CHUNK_VERTICES // max(1, len(used_U))))
    pieces = [
        regressor_KU @ pose_vertices(part, poses_TN3[frames], betas_B, trans_T3[frames])
        for frames in _chunks(len(poses_TN3), frames_at_a_time)
    ]
    return np.concatenate(pieces)


def _rotations(poses_TN3: Float[np.ndarray, "T N 3"]) -> Float[np.ndarray, "T N 3 3"]:
    return Rotation.from_rotvec(poses_TN3.reshape(-1, 3)).as_matrix().reshape(*poses_TN3.shape, 3)


def _stand(
    model: BodyModel, rest_N3: Float[np.ndarray, "N 3"], local_TN33: Float[np.ndarray, "T N 3 3"]
) -> tuple[Float[np.ndarray, "T N 3 3"], Float[np.ndarray, "T N 3"]]:
    """World rotations and positions of the joints, before ``trans``; the root turns about its position at rest."""
    world_TN33 = world_rotations(model.parents, local_TN33)
    above = np.maximum(model.parents, 0)
    step_TN3 = np.einsum("tnij,nj->tni", world_TN33[:, above], rest_N3 - rest_N3[above])
    step_TN3[:, 0] = rest_N3[0]
    return world_TN33, world_positions(model.parents, step_TN3)


def _chunks(num_frames: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, max(1, num_frames), size))
