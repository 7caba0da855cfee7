"""Pickles read as data: an interpreter that runs nothing but an allow-list."""
