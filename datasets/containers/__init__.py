"""Containers: from bytes to values. These modules know file formats and nothing of people."""
