"""Measurements that one runs by hand; what they found is in README.md beside this."""
