"""Fixtures every test may use."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real recordings, unpacked: ``MOTION_DATA``, or ``../shared/data`` beside the checkout; skipped if neither."""
    if unpacked := os.environ.get("MOTION_DATA"):
        return Path(unpacked)
    packed = CHECKOUT.parent / "shared" / "data"
    if not (packed / "unpack").is_file():
        pytest.skip("no real recordings: set MOTION_DATA to a folder of them")
    folder = tmp_path_factory.mktemp("real_data")
    subprocess.run([packed / "unpack", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def protocols() -> Path:
    """The published code's numbers: ``MOTION_PROTOCOLS``, or ``../shared`` beside the checkout; skipped if neither."""
    folder = Path(os.environ.get("MOTION_PROTOCOLS", CHECKOUT.parent / "shared" / "parity" / "protocols"))
    if not folder.is_dir():
        pytest.skip("no published numbers: set MOTION_PROTOCOLS to a folder of them")
    return folder


settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that of two test processes neither is left with one of them at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/pipelines/", "tests/e2e/")))
