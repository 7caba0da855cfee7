"""The names of the library: the same for type checkers as at run time, and imported when they are used."""

import ast
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
    return {
        str(alias.asname): str(node.module).removeprefix("motion_encoder.") for node in imports for alias in node.names
    }


def test_type_checkers_and_python_find_the_same_names_in_the_same_modules() -> None:
    assert names_for_type_checkers() == motion_encoder.PUBLIC


@pytest.mark.parametrize("name", sorted(motion_encoder.PUBLIC))
def test_each_name_is_there_and_listed(name: str) -> None:
    value = getattr(motion_encoder, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(motion_encoder)


def test_other_names_are_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="'motion_encoder' has no attribute 'lfit'"):
        motion_encoder.lfit  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_skeletons_do_not_import_torch() -> None:
    code = "import sys, motion_encoder.skeletons; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SOURCE.parents[1])
