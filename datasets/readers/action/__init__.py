"""Readers of labelled action data sets."""
