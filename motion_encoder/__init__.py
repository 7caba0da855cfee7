"""Human-motion encoders: DSTformer, its heads, and lifting of 2D keypoints to 3D motion."""
