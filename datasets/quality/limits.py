"""The bounds of all checks and repairs in one place, each with its reason.

The figures named are of the public recordings that this was built on.
"""

from dataclasses import dataclass

from datasets.sequences import Kind


@dataclass(frozen=True, kw_only=True)
class CheckLimits:
    """The bounds."""

    fps: tuple[float, float] = (1.0, 1000.0)
    min_frames_3d: int = 2
    """A single frame is a still: fine in 2D, no motion in 3D."""
    farthest_m: float = 1e4
    farthest_px: float = 1e6
    """Coordinates beyond are damage: at 10 km the store's 32-bit numbers are 1 mm apart."""
    height_m: tuple[float, float] = (0.9, 2.3)
    """Leg plus spine, metres: children from about four years on."""
    leg_m: tuple[float, float] = (0.4, 1.3)
    arm_m: tuple[float, float] = (0.25, 0.9)
    """The same people's thigh plus shin, and upper arm plus forearm: 0.49 and 0.33 of the stature, with some room. All
    observed parts are checked, so that a creature with human legs is found by its arms."""
    limb_change: float = 0.2
    """Nine tenths of all frames have a limb within this share of its median length: 0 for a rig, up to 0.14 for joints
    made of markers on the skin (UI-PRMD's Vicon)."""
    limb_change_guessed: float = 0.6
    """The same for joints that a camera guesses anew in every frame (kinds other than mocap): UI-PRMD's Kinect has a
    median of 0.17 and a worst of 0.53."""
    root_speed_m_s: float = 15.0
    """The fastest sprinters reach 12.4; a capture that lost its track jumps by far more."""
    joint_speed_m_s: float = 50.0
    joint_jump_m: float = 1.0
    """A joint that is faster AND goes farther in one frame has jumped. A pitcher's hand reaches 30 m/s; a solver that
    flips a foot over moves it by 0.7 m (CMU 16_15), and Kinect loses one by 0.84 m."""
    faulty_share: float = 0.1
    """More frames of a joint than this, beyond a jump or outside the image, cannot be repaired; neither can more frames
    with exchanged sides."""
    exchange_m: float = 0.15
    exchange_2d: float = 0.08
    """Left and right are exchanged where the joints of a limb come nearer to the other side's places than to their
    own, and move by this on average: metres, or shares of the person's size in the image. Less is legs that pass."""
    bent_knee_deg: float = 40.0
    backward_knees: float = -0.5
    """Mean cosine between the axis that knees bend about and the line of the hips, over frames with a knee bent by
    more than ``bent_knee_deg``: near 1 for people, -1 where left and right, or the hand of the axes, are wrong."""
    bent_share: float = 0.05
    """Fewer frames with a bent knee than this prove nothing."""
    image_side_px: int = 100_000
    """The largest cameras have sides of 20,000; a damaged header has any."""
    image_margin: float = 0.5
    """Points farther outside the image than this share of its width or height are no guess of a hidden joint."""
    size_px: float = 2.0
    """A person with five joints seen and a smaller extent is not in pixels (0 to 1 is common)."""
    box_speed: float = 30.0
    """Sizes of the person a second: 50 m/s. A track that moves faster has gone over to somebody else."""

    def limb_change_of(self, kind: Kind) -> float:
        """Return the bound on how much limbs may change their length in sequences of a kind."""
        return self.limb_change if kind == "mocap" else self.limb_change_guessed
