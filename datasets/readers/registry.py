"""All readers and all sources: one module per public format, with a ``READER`` and, in ``SOURCES``, its data sets."""

from datasets.readers.action import (
    jhmdb,
    msr_action3d,
    ntu,
    nw_ucla,
    penn_action,
    pyskl,
    ui_prmd_kinect,
    ui_prmd_vicon,
    utd_mhad,
    utkinect,
)
from datasets.readers.detectors import (
    alphapose,
    bonn_posetrack,
    coco,
    detectron2,
    gast,
    instavariety,
    mediapipe,
    mmpose,
    openpose,
    posetrack,
    rtmlib,
    ultralytics,
)
from datasets.readers.mocap import amass, amc, bvh, c3d, h36m_mmpose, h36m_sh, h36m_videopose, mpi_inf_3dhp, threedpw
from datasets.readers.procedural import reader as procedural_motion
from datasets.sequences import Reader, Source

FORMATS = (
    *(bvh, amc, c3d, amass, h36m_sh, h36m_videopose, h36m_mmpose, threedpw, mpi_inf_3dhp),
    *(ntu, pyskl, nw_ucla, utkinect, msr_action3d, utd_mhad, ui_prmd_kinect, ui_prmd_vicon, penn_action, jhmdb),
    *(coco, posetrack, bonn_posetrack, instavariety, openpose, alphapose, mmpose, mediapipe, gast, detectron2),
    *(ultralytics, rtmlib),
    procedural_motion,
)
READERS: dict[str, Reader] = {module.READER.name: module.READER for module in FORMATS}
"""By name, in the order in which they may claim a file: COCO's results before AlphaPose's, which look like them."""
SOURCES: dict[str, Source] = {source.name: source for module in FORMATS for source in module.SOURCES}
