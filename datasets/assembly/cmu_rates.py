"""CMU recordings that are not at 120 Hz: AMC states no rate, and the BVH conversions state 120 Hz for all of them.

The laboratory's cameras run at 120 Hz (http://mocap.cs.cmu.edu/info.php), but some subjects were captured at 60 Hz. The
database's own pages list a rate for each trial, and some of these rates are wrong. This module lists the subjects for
whom two public sources agree: gulvarol/surreal issue 31 (subject 89: its pages say 60; subject 106: they say 120, and
the motion is twice too fast), AMASS as quoted in IDEA-Research/Motion-X issue 43 (62_11: 60 Hz from the original C3D,
which has as many frames as the AMC), and una-dinosauria/cmu-mocap pull request 2, which set 525 BVH files of these and
other subjects to 60 Hz by eye. For the other subjects of these 525 files there is no second source, so they stay at 120
Hz.
"""

AT_60_HZ = frozenset({"cmu/62", "cmu/89", "cmu/106"})


def find_known_rate(subject: str) -> float | None:
    """Return the rate of a subject (such as ``cmu/62``) that is known not to be at 120 Hz, else None."""
    return 60.0 if subject in AT_60_HZ else None
