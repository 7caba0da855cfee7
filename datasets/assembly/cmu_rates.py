"""CMU recordings that do not run at 120 Hz: AMC states no rate, and the BVH conversions state 120 Hz for all of them.

The laboratory's cameras run at 120 Hz (http://mocap.cs.cmu.edu/info.php); some subjects were captured at 60 Hz. The
data base's own pages list a rate for each trial, and are wrong for some. Here are subjects for whom two public sources
agree: gulvarol/surreal issue 31 (89: its pages say 60; 106: they say 120, and the motion is twice too fast), AMASS as
IDEA-Research/Motion-X issue 43 quotes it (62_11: 60 Hz from the original C3D, in as many frames as the AMC has), and
una-dinosauria/cmu-mocap pull request 2, which set 525 BVH files of these and other subjects to 60 Hz by eye. The others
of those 525 rest on that one pair of eyes, and stay at 120 Hz.
"""

AT_60_HZ = frozenset({"cmu/62", "cmu/89", "cmu/106"})


def known_rate(subject: str) -> float | None:
    """Return the rate of a subject (``cmu/62``) of whom it is known that it is not 120 Hz."""
    return 60.0 if subject in AT_60_HZ else None
