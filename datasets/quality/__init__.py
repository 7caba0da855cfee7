"""Checks, repairs and resampling of sequences before they are stored."""
