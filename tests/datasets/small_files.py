"""One small sound recording, or one per layout, for each reader: what the tests of the whole extraction damage.

Everybody in them stands as a person does and moves by a few millimetres or pixels a frame, so that all checks pass.
"""

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from datasets.joints import kinect
from datasets.joints.tables import COCO17_JOINTS
from datasets.readers.action import jhmdb, msr_action3d, penn_action, utd_mhad
from tests.datasets import body_model_writer
from tests.datasets.bvh_files import write_bvh
from tests.datasets.c3d_files import write_c3d
from tests.datasets.h36m_body import BODY, walk
from tests.datasets.readers.action import test_pyskl, test_ui_prmd
from tests.datasets.readers.detectors import (
    test_alphapose,
    test_bonn_posetrack,
    test_coco,
    test_detectron2,
    test_gast,
    test_instavariety,
    test_mediapipe,
    test_mmpose,
    test_openpose,
    test_posetrack,
    test_rtmlib,
    test_ultralytics,
)
from tests.datasets.readers.mocap import (
    test_amc,
    test_c3d,
    test_h36m_mmpose,
    test_h36m_sh,
    test_h36m_videopose,
    test_mpi_inf_3dhp,
    test_threedpw,
)

FRAMES = 4
OURS = {  # the body's joint at which others put joints of theirs
    "hipcenter": "root", "spinebase": "root", "pelvis": "root", "spine": "belly", "spinemid": "belly",
    "shouldercenter": "neck", "spineshoulder": "neck", "face": "nose", "leye": "head", "reye": "head", "lear": "head",
    "rear": "head", **{side + part: side + "wrist" for side in "lr" for part in ("hand", "handtip", "thumb")},
    **{side + "foot": side + "ankle" for side in "lr"},
}  # fmt: skip


def standing(joints: Sequence[str], frames: int = FRAMES) -> np.ndarray:
    """Metres [T, K, 3], Y up, of somebody before a camera."""
    places = [list(BODY).index(OURS.get(joint, joint)) for joint in joints]
    return (walk(frames, start=(0.3, 0.1, 3.0)) * (1, -1, -1))[:, places]


def pictured(joints: Sequence[str], frames: int = FRAMES) -> np.ndarray:
    """Pixels [T, K, 2] of the same in an image of 320 x 240."""
    x, y, z = np.moveaxis(standing(joints, frames), -1, 0)
    return np.stack([140 - 250 * x / z, 120 + 250 * y / z], axis=-1)


def write_body_models(folder: Path) -> None:
    """What AMASS needs beside its files."""
    for gender in ("male", "female", "neutral"):
        body_model_writer.write_npz(folder / "smplh" / gender / "model.npz", body_model_writer.raw_model())
    body_model_writer.write_npz(folder / "SMPLX_MALE.npz", body_model_writer.raw_model("smplx", 400))


def _bvh(folder: Path) -> None:
    frames = [{"root": (0.01 * t, 1, 0), "LeftLeg": (0, 3.0 * t, 0)} for t in range(FRAMES)]
    (folder / "walk.bvh").write_bytes(write_bvh(frames=frames))


def _amc(folder: Path) -> None:
    (folder / "09.asf").write_text(test_amc.write_asf())
    frames = [{"root": (0.1 * t, 17, 3, 0, 0, 0), "rtibia": (5.0 * t,)} for t in range(6)]
    (folder / "09_01.amc").write_text(test_amc.write_amc(*frames))


def _c3d(folder: Path) -> None:
    (folder / "a.c3d").write_bytes(write_c3d(test_c3d.points(num_frames=6), test_c3d.PLUG_IN_GAIT))
    (folder / "b.c3d").write_bytes(write_c3d(test_c3d.points(num_frames=6), test_c3d.PLUG_IN_GAIT, processor="sgi"))


def _amass(folder: Path) -> None:
    moving: dict[str, Any] = {"trans": np.linspace(0, 0.05, 30).reshape(10, 3)}
    first = body_model_writer.take(10, **moving)
    body_model_writer.write_npz(folder / "CMU/08/08_01_poses.npz", first)
    second = body_model_writer.take(10, "smplx", **moving)
    body_model_writer.write_npz(folder / "CMU/09/09_01_stageii.npz", body_model_writer.second_generation(second))


def _h36m_sh(folder: Path) -> None:
    videos = {
        "train": test_h36m_sh.video(test_h36m_sh.S1, walk(6), part="train"),
        "test": test_h36m_sh.video(test_h36m_sh.S9, walk(6)),
    }
    test_h36m_sh.write(folder, videos)


def _h36m_videopose(folder: Path) -> None:
    test_h36m_videopose.write_3d(folder / "data_3d_h36m.npz", {"S1": {"Walking 1": test_h36m_videopose.room(6)}})
    shown = pictured(list(BODY)).astype(np.float32)
    test_h36m_videopose.write_2d(folder / "data_2d_h36m_gt.npz", {"S1": {"Walking 1": [shown] * 4}})


def _h36m_mmpose(folder: Path) -> None:
    test_h36m_mmpose.write(folder, test_h36m_mmpose.rows(list(range(1, 7))))


def _threedpw(folder: Path) -> None:
    test_threedpw.write(folder, test_threedpw.sequence_file(4, people=2))


def _ntu(folder: Path) -> None:
    lines = [str(FRAMES)]
    for joints_K3 in standing(kinect.V2_JOINTS):
        lines += ["1", "72057594037944738 0 1 1 1 1 0 -0.05 0.1 2", "25"]
        lines += [f"{x:.6f} {y:.6f} {z:.6f} 284.6 190.5 NaN 411.25 0 0 1 0 2" for x, y, z in joints_K3]
    (folder / "S001C002P003R002A013.skeleton").write_text("\r\n".join(lines))


def _pyskl(folder: Path) -> None:
    flat = test_pyskl.annotation(pictured(COCO17_JOINTS)[None], label=12)
    deep = test_pyskl.annotation(standing(kinect.V2_JOINTS)[None], name="S001C001P001R001A001", label=0)
    test_pyskl.write(folder, test_pyskl.published(flat))
    test_pyskl.write(folder, test_pyskl.published(deep), name="ntu60_3danno.pkl")
    test_pyskl.write(folder, test_pyskl.published(flat), name="old.pkl", protocol=2)


def _nw_ucla(folder: Path) -> None:
    clip = {"file_name": "a08_s09_e04_v02", "skeletons": standing(kinect.V1_JOINTS).tolist(), "label": 7}
    (folder / "clip.json").write_text(json.dumps(clip))


def _utkinect(folder: Path) -> None:
    rows = [f"{t} " + " ".join(f"{v:.6f}" for v in frame.ravel()) for t, frame in enumerate(standing(kinect.V1_JOINTS))]
    (folder / "joints").mkdir()
    (folder / "joints" / "joints_s07_e01.txt").write_text("\n".join(rows) + "\n")
    (folder / "actionLabel.txt").write_text("s07_e01\nwalk: 0 3\ncarry: NaN NaN\n")


def _msr_action3d(folder: Path) -> None:
    rows = [f"{x:.6f} {y:.6f} {z:.6f} 1.000000" for x, y, z in standing(msr_action3d.JOINTS).reshape(-1, 3)]
    (folder / "a13_s02_e01_skeleton3D.txt").write_text("\r\n".join(rows))


def _utd_mhad(folder: Path) -> None:
    for name, packed in (("a27_s1_t4_skeleton.mat", True), ("a26_s1_t4_skeleton.mat", False)):
        savemat(folder / name, {"d_skel": standing(utd_mhad.JOINTS).transpose(1, 2, 0)}, do_compression=packed)


def _ui_prmd_kinect(folder: Path) -> None:
    points_TN3 = np.zeros((FRAMES, 22, 3))
    for joint, parent in enumerate(test_ui_prmd.KINECT_PARENTS):
        points_TN3[:, joint] = points_TN3[:, max(parent, 0)]
        if joint in test_ui_prmd.KINECT_JOINTS:
            points_TN3[:, joint] = 100 * standing(list(BODY))[:, test_ui_prmd.KINECT_JOINTS.index(joint)]
    angles_TN3 = np.random.default_rng(0).uniform(-180, 180, points_TN3.shape)
    test_ui_prmd.write_kinect(folder, "m03_s07_e02", points_TN3, angles_TN3)


def _ui_prmd_vicon(folder: Path) -> None:
    test_ui_prmd.write_vicon(folder, "m03_s07_e02", test_c3d.points(num_frames=8))


def _penn_action(folder: Path) -> None:
    joints = tuple(penn_action.CONVERSION.source_joints)
    x, y = np.moveaxis(pictured(joints), -1, 0)
    values = {"action": "tennis_serve", "x": x, "y": y, "visibility": np.ones(x.shape, np.uint8)}
    values |= {"bbox": np.zeros((FRAMES, 4)), "dimensions": np.array([[240, 320, FRAMES]], np.uint16)}
    savemat(folder / "0042.mat", values | {"nframes": np.uint8(FRAMES), "train": 1, "pose": "back"})


def _jhmdb(folder: Path) -> None:
    points_TN2 = pictured(jhmdb.JOINTS)
    clip = folder / "brush_hair" / "April_09_brush_hair_u_nm_np1_ba_goo_0"
    clip.mkdir(parents=True)
    values = {"pos_img": points_TN2.transpose(2, 1, 0), "pos_world": points_TN2.transpose(2, 1, 0) / 240 - 0.5}
    savemat(clip / "joint_positions.mat", values | {"scale": 1.2, "viewpoint": "E"}, do_compression=True)
    world_TN2 = (points_TN2 / (320, 240) - 0.5) * (320 / 240, 1)
    (folder / "GT_train_1.pkl").write_bytes(pickle.dumps({"pose": [world_TN2], "label": ["brush_hair"]}))


def _coco(folder: Path) -> None:
    test_coco.write(folder, test_coco.content([test_coco.person()]))
    test_coco.write(folder, [test_coco.result(), test_coco.result(8)], name="results.json")


def _posetrack(folder: Path) -> None:
    people = [test_posetrack.person(frame, track) for frame in range(3) for track in range(2)]
    test_posetrack.write(folder, [test_posetrack.image(frame) for frame in range(3)], people)


def _bonn_posetrack(folder: Path) -> None:
    people = [[test_bonn_posetrack.points(40.0 + t) for t in range(3)], [None, test_bonn_posetrack.points(200), None]]
    videos = [test_bonn_posetrack.video("000001", people)]
    test_bonn_posetrack.write(folder / "annolist.mat", videos)
    test_bonn_posetrack.write(folder / "plain.mat", videos, compressed=False)


def _instavariety(folder: Path) -> None:
    test_instavariety.write(folder, [test_instavariety.frame(t, x=float(t)) for t in range(3)])


def _openpose(folder: Path) -> None:
    test_openpose.write(folder, {t: [test_openpose.person(10 + t), test_openpose.person(300)] for t in range(3)}, "v_")


def _alphapose(folder: Path) -> None:
    listed = [test_alphapose.person(10 + t, t, idx=1) for t in range(3)]
    (folder / "halpe.json").write_text(json.dumps(listed))
    (folder / "coco.json").write_text(json.dumps([test_alphapose.coco_person(t) for t in range(3)]))
    stamped = [test_alphapose.stamped(10, 38.5 + t / 18) for t in range(3)]
    (folder / "stamped.json").write_text(json.dumps(stamped))
    by_frame = {f"{t}.jpg": {"version": 0.1, "bodies": [{"joints": test_alphapose.person(10, t)["keypoints"]}]}
                for t in range(3)}  # fmt: skip
    (folder / "cmu.json").write_text(json.dumps(by_frame))


def _mmpose_dump(folder: Path) -> None:
    frames = {t: [test_mmpose.instance(10 + t)] for t in range(3)}
    (folder / "a.mp4.json").write_text(json.dumps(test_mmpose.demo(frames)))
    (folder / "b.mp4.json").write_text(json.dumps(test_mmpose.frames_of(frames), indent="\t"))


def _mediapipe(folder: Path) -> None:
    (folder / "video.json").write_text('{"width": 1000, "height": 500, "fps": 25}')
    for name in ("x0.csv", "long.csv", "frames.json", "object.json"):
        (folder / name).write_text(test_mediapipe.FORMS[name], newline="")


def _gast(folder: Path) -> None:
    (folder / "clip.json").write_text(test_gast.text_of({t: [test_gast.skeleton(10 + t)] for t in range(1, 4)}))


def _detectron2(folder: Path) -> None:
    test_detectron2.write_raw(folder / "a.mp4.npz", [[10, 400], [402, 11], [], [13, 406]])
    prepared = {"b.mp4": pictured(COCO17_JOINTS).astype(np.float32)}
    test_detectron2.write_prepared(folder / "data_2d_custom_b.npz", prepared)


def _ultralytics(folder: Path) -> None:
    labels = {t: [test_ultralytics.line(10 + t, 0.9, 1), test_ultralytics.line(300, 0.9, 2)] for t in range(3)}
    test_ultralytics.write_labels(folder / "labels", labels)
    frames = [[test_ultralytics.person(10 + t), test_ultralytics.person(300)] for t in range(3)]
    (folder / "list.json").write_text(json.dumps(frames))
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, frames)))


def _rtmlib(folder: Path) -> None:
    for name, content in test_rtmlib.WHOLE.items():
        (folder / name).write_bytes(content)
    same_count: Any = {"keypoints": np.array([f[0][:1] for f in test_rtmlib.FRAMES])}
    np.savez(folder / "even.npz", **same_count, scores=np.array([f[1][:1] for f in test_rtmlib.FRAMES]))


def _mpi_inf_3dhp(folder: Path) -> None:
    test_mpi_inf_3dhp.write_train(folder, test_mpi_inf_3dhp.annotations(), cameras=test_mpi_inf_3dhp.calibration())
    test_mpi_inf_3dhp.write_test(folder, test_mpi_inf_3dhp.holdout())
    test_mpi_inf_3dhp.write_test(folder, test_mpi_inf_3dhp.holdout(chunked=False), "TS2")


SMALL_FILES: dict[str, Callable[[Path], None]] = {
    "bvh": _bvh,
    "amc": _amc,
    "c3d": _c3d,
    "amass": _amass,
    "h36m_sh": _h36m_sh,
    "h36m_videopose": _h36m_videopose,
    "h36m_mmpose": _h36m_mmpose,
    "3dpw": _threedpw,
    "ntu": _ntu,
    "pyskl": _pyskl,
    "nw_ucla": _nw_ucla,
    "utkinect": _utkinect,
    "mpi_inf_3dhp": _mpi_inf_3dhp,
    "msr_action3d": _msr_action3d,
    "utd_mhad": _utd_mhad,
    "ui_prmd_kinect": _ui_prmd_kinect,
    "ui_prmd_vicon": _ui_prmd_vicon,
    "penn_action": _penn_action,
    "jhmdb": _jhmdb,
    "coco": _coco,
    "posetrack": _posetrack,
    "bonn_posetrack": _bonn_posetrack,
    "instavariety": _instavariety,
    "openpose": _openpose,
    "alphapose": _alphapose,
    "mmpose": _mmpose_dump,
    "mediapipe": _mediapipe,
    "gast": _gast,
    "detectron2": _detectron2,
    "ultralytics": _ultralytics,
    "rtmlib": _rtmlib,
}
"""By the reader's name: what writes files of its format into an empty folder, companions too."""
