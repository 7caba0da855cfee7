"""Where things are, said so that every process of a job means the same place."""

import os
from pathlib import Path


def absolute(where: str) -> str:
    """Return a local path made absolute, a URL as it is: workers have other working folders.

    Raises:
        ValueError: a relative path in a submitted job, which runs in a copy of the upload that Ray cleans away.
    """
    if "://" in where:
        return where
    path = Path(where).expanduser()
    if not path.is_absolute() and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise ValueError(
            f"{where}: expected an absolute path or a URL in a submitted job, found a relative one. It would lie in "
            "Ray's copy of the upload, which is cleaned away."
        )
    return str(path.absolute())
