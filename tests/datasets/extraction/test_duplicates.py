"""What counts as the same motion."""

from dataclasses import replace

import numpy as np

from datasets.extraction.duplicates import content_digest
from tests.datasets.quality.test_checks import ELBOW, flat, spoilt, walking


def test_duplicates_have_one_digest_wherever_they_stand_and_other_motions_another():
    sequence = walking()
    assert sequence.keypoints_3d_TJC is not None
    moved = sequence.keypoints_3d_TJC + np.array([1, 0, 2], np.float32)
    raised = sequence.keypoints_3d_TJC.copy()
    raised[5, ELBOW, 1] += 0.002
    digest = content_digest(sequence)
    assert digest == content_digest(replace(sequence, sequence_id="copy", subject="x", keypoints_3d_TJC=moved))
    others = (
        replace(sequence, keypoints_3d_TJC=raised), replace(sequence, fps=60.0), flat(sequence), walking(num_frames=59),
        spoilt("confidence_TJ", (5, ELBOW), 0),
    )  # fmt: skip
    assert digest not in {content_digest(other) for other in others}
