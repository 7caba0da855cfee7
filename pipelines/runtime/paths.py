"""Paths that mean the same place in every process of a job."""

import os
from pathlib import Path


def absolute(where: str) -> str:
    """Return a local path as an absolute path (since workers have other working folders), and a URL unchanged.

    Raises:
        ValueError: the path is relative, and the job was submitted, so it runs in a temporary copy of the checkout.
    """
    if "://" in where:
        return where
    path = Path(where).expanduser()
    if not path.is_absolute() and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise ValueError(
            f"{where}: expected an absolute path or a URL in a submitted job, found a relative path. It would be in "
            "Ray's temporary copy of the working folder, which Ray deletes."
        )
    return str(path.absolute())
