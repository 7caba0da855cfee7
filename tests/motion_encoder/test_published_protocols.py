"""What needs more of the published code's numbers than lies in ``tests/data``; skipped where they are not at hand."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motion_encoder import ActionModel, DSTformer, load, make_action_input, make_published_action_input
from motion_encoder.losses import loss_2d
from motion_encoder.observation import flip
from motion_encoder.skeletons import H36M17
from motion_encoder.windows import Windows


def arrays(path: Path) -> Mapping[str, Tensor]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored if stored[name].dtype.kind in "fib"}


@pytest.fixture(scope="module")
def action(protocols: Path) -> Mapping[str, Tensor]:
    return arrays(protocols / "action" / "action.npz")


@pytest.fixture
def action_model(protocols: Path) -> ActionModel:
    model = load(protocols / "action" / "action.bin", num_heads=4)
    assert isinstance(model, ActionModel)
    return model


def samples(protocols: Path) -> list[dict]:
    """The held-out samples in the order of the file's list."""
    with (protocols / "action" / "ntu60_hrnet.pkl").open("rb") as file:
        contents = pickle.load(file)  # noqa: S301 a fixture of our own
    by_name = {annotation["frame_dir"]: annotation for annotation in contents["annotations"]}
    return [by_name[name] for name in contents["split"]["xsub_val"]]


def test_logits_from_the_published_file(protocols, action, action_model):
    items = torch.stack([
        make_published_action_input(
            sample["keypoint"], sample["keypoint_score"], image_size=sample["img_shape"][::-1], clip_frames=27
        )
        for sample in samples(protocols)
    ])  # fmt: skip
    torch.testing.assert_close(items, action["items"], rtol=0, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(action_model(items), action["logits_items"], rtol=0, atol=1e-5)


def test_logits_of_corrected_input(protocols, action, action_model):
    """The network's answer to the corrected items; and our own differ from them only where nothing was seen."""
    with torch.no_grad():
        logits = action_model(action["items_corrected"])
    torch.testing.assert_close(logits, action["logits_items_corrected"], rtol=0, atol=1e-5)
    for sample, expected in zip(samples(protocols), action["items_corrected"], strict=True):
        keypoints, scores = (sample[name].astype(np.float32) for name in ("keypoint", "keypoint_score"))
        item = make_action_input(keypoints, scores, clip_frames=27)
        seen = expected[..., 2:] > 0
        torch.testing.assert_close(item, expected * seen, rtol=0, atol=1e-6)


def test_an_absent_person_at_zero(action, action_model):
    items = action["items"].clone()
    items[:, 1][(items[:, 1, ..., 2] == 0).all(dim=(1, 2))] = 0
    with torch.no_grad():
        logits = action_model(items)
    expected = action["logits_items_with_the_absent_person_all_zero"]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert (expected - action["logits_items"]).abs().max() > 0.01


def test_batch_norm_in_training(action, action_model):
    action_model.train()
    action_model.head.config = replace(action_model.head.config, dropout=0.0)
    torch.testing.assert_close(action_model(action["items"]), action["train_logits"], rtol=0, atol=1e-5)
    norm = action_model.head.bn
    torch.testing.assert_close(norm.running_mean, action["running_mean_after"], rtol=0, atol=1e-6)
    torch.testing.assert_close(norm.running_var, action["running_var_after"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["posetrack", "insta"])
def test_the_2d_loss_is_over_all_joints(protocols, name):
    items = arrays(protocols / "pretrain" / "items.npz")
    pred = items["loss2d_pred" if name == "posetrack" else "loss2d_insta_pred"]
    seen = items[f"{name}_items_1.0"]
    target = seen - torch.nn.functional.pad(seen[:, :, :1, :2], (0, 1))
    loss = loss_2d(pred, target, seen[..., 2])
    assert loss.mean().item() == pytest.approx(items[f"loss2d_{name}"].item(), abs=1e-6)
    over_seen = loss.total.item() / (seen[..., 2] > 0).sum().item()
    assert over_seen > 1.1 * loss.mean().item()


def test_crop_scale_but_for_its_clamp(protocols):
    items = arrays(protocols / "pretrain" / "items.npz")
    clip = items["crop_in"].float()[None]
    for ratio in ("0.25", "0.6", "1.0", "2.0", "3.0"):
        inside = Windows.around(clip, clip[..., 2], float(ratio)).normalise(clip[..., :2])
        torch.testing.assert_close(inside.clamp(-1, 1)[0], items[f"crop_{ratio}"][..., :2].float(), rtol=0, atol=1e-5)


def test_lifting_with_the_mean_of_both_sides(protocols):
    """``infer_wild`` on the first chunk: mean of the plain and the mirrored pass, root at 0."""
    wild = arrays(protocols / "wild" / "wild.npz")
    model = load(protocols / "h36m" / "pose.bin", num_heads=4)
    assert isinstance(model, DSTformer)
    x = wild["input_crop"][None, :27]
    with torch.no_grad():
        plain, mirrored = model(x), flip(model(flip(x)))
    lifted = ((plain + mirrored) / 2)[0]
    others = torch.arange(17) != H36M17.index("root")
    torch.testing.assert_close(lifted[:, others], wild["X3D_rootrel"][:27, others], rtol=0, atol=1e-5)


def test_human36m_targets_are_not_metric(protocols):
    """Two and a half dimensions: x and y as in the picture; ``cameras`` says by how much that is off."""
    with (protocols / "h36m" / "h36m_sh_conf_cam_source_final.pkl").open("rb") as file:
        test = pickle.load(file)["test"]  # noqa: S301 a fixture of our own
    metric = arrays(protocols / "h36m" / "camera_space.npz")["joints_m"] * 1000
    flat = torch.from_numpy(test["joints_2.5d_image"])
    error = ((metric - metric[:, :1]) - (flat - flat[:, :1])).abs()
    assert error[..., 2].max() < 0.01
    assert 20 < error.norm(dim=-1).mean() < 24
    assert 100 < error.norm(dim=-1).max() < 200
