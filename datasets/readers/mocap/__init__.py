"""Readers of 3D motion."""
