"""Readers of 2D keypoints: detectors' results and annotated images."""
