"""The bounds of all checks and repairs, each with its reason.

The figures are those of the public recordings that this was developed with.
"""

from dataclasses import dataclass

from datasets.sequences import Kind


@dataclass(frozen=True, kw_only=True)
class CheckLimits:
    """The bounds of all checks and repairs."""

    fps: tuple[float, float] = (1.0, 1000.0)
    min_frames_3d: int = 2
    """Fewest frames: a single frame is valid in 2D (a still), but not in 3D."""
    farthest_m: float = 1e4
    farthest_px: float = 1e6
    """Largest coordinate, in metres: at 10 km the store's 32-bit numbers are 1 mm apart."""
    height_m: tuple[float, float] = (0.9, 2.3)
    """Leg plus spine, in metres, for children from about four years on."""
    leg_m: tuple[float, float] = (0.4, 1.3)
    arm_m: tuple[float, float] = (0.25, 0.9)
    """The same people's thigh plus shin, and upper arm plus forearm, in metres: 0.49 and 0.33 of the stature, with some
    margin. All observed parts are checked, so that an animal with human legs is found by its arms."""
    limb_change: float = 0.2
    """Largest relative deviation of a limb from its median length in nine tenths of all frames: 0 for a rig, up to 0.14
    for joints computed from markers on the skin (UI-PRMD's Vicon)."""
    limb_change_guessed: float = 0.6
    """The same for joints that are estimated independently in every frame (kinds other than mocap): UI-PRMD's Kinect
    has a median of 0.17 and a maximum of 0.53."""
    root_speed_m_s: float = 15.0
    """Largest speed of the root in m/s: the fastest sprinters reach 12.4; a capture that lost the person jumps by far
    more."""
    joint_speed_m_s: float = 50.0
    joint_jump_m: float = 1.0
    """A joint has jumped if it is faster AND moves farther in one frame. A pitcher's hand reaches 30 m/s; a solver that
    flips a foot moves it by 0.7 m (CMU 16_15), and one lost by Kinect moves by 0.84 m."""
    faulty_share: float = 0.1
    """Largest share of a joint's frames that is repaired if they are beyond a jump, outside the image, or have
    exchanged sides."""
    exchange_m: float = 0.15
    exchange_2d: float = 0.08
    """Left and right are exchanged if the joints of a limb are nearer to the other side's last positions than to their
    own, and move by this on average: metres, or shares of the person's size in the image. Legs that pass each other
    move less."""
    bent_knee_deg: float = 40.0
    backward_knees: float = -0.5
    """Mean cosine between the axis that knees bend about and the line of the hips, over frames with a knee bent by more
    than ``bent_knee_deg``: near 1 for people, -1 if left and right are exchanged or the axes are left-handed."""
    bent_share: float = 0.05
    """Smallest share of frames with a bent knee that counts as evidence."""
    image_side_px: int = 100_000
    """Largest side of an image in pixels: the largest cameras have 20,000; a damaged header may state any number."""
    image_margin: float = 0.5
    """Farthest that an extrapolated joint may be outside the image, as a share of its width or height."""
    size_px: float = 2.0
    """Smallest extent of a person with five observed joints; below it, coordinates are not pixels (often 0 to 1)."""
    box_speed: float = 30.0
    """Largest speed in sizes of the person per second: 50 m/s. A faster track has switched to another person."""

    def limb_change_of(self, kind: Kind) -> float:
        """Return the bound on the change of limb lengths for sequences of a kind."""
        return self.limb_change if kind == "mocap" else self.limb_change_guessed
