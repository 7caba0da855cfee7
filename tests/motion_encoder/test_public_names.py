"""The names of the library: the same for type checkers as at run time, and imported when they are first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import motion_encoder

SOURCE = Path(motion_encoder.__file__)


def names_for_type_checkers() -> dict[str, str]:
    """Name and module of the imports under ``if TYPE_CHECKING``."""
    [block] = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_type_checkers_know_every_public_name() -> None:
    assert sorted(names_for_type_checkers()) == sorted(motion_encoder.__all__)


@pytest.mark.parametrize(("name", "module"), names_for_type_checkers().items())
def test_python_finds_each_name_where_type_checkers_do(name: str, module: str) -> None:
    assert getattr(motion_encoder, name) is getattr(importlib.import_module(module), name)
    assert name in dir(motion_encoder)


def test_a_star_import_brings_all_of_them() -> None:
    brought: dict[str, object] = {}
    exec("from motion_encoder import *", brought)
    assert set(motion_encoder.__all__) <= brought.keys()


def test_other_names_are_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="'motion_encoder' has no attribute 'lfit'"):
        motion_encoder.lfit  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_skeletons_do_not_import_torch() -> None:
    code = "import sys, motion_encoder.skeletons; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SOURCE.parents[1])
