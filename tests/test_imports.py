"""Imports point one way: between the packages, and between the folders inside each."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("motion_encoder", "datasets", "pipelines", "benchmarks", "tests")
"""Each may import itself and those before it."""


def modules(package: str) -> dict[str, Path]:
    """The modules of a package by name; a package itself is one (its ``__init__``)."""
    found = {}
    for path in sorted((CHECKOUT / package).rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {name: path for package in PACKAGES for name, path in modules(package).items()}


def imports(path: Path) -> Iterator[str]:
    """Yield our modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = []
        for name in names:
            while name and name not in MODULES:  # a name that a module defines
                name = name.rpartition(".")[0]
            if name:
                yield name


def folder(module: str) -> str:
    return str(MODULES[module].parent.relative_to(CHECKOUT))


def folders_imported(package: str) -> dict[str, set[str]]:
    """The folders of a package, with those that their modules import."""
    graph: dict[str, set[str]] = {}
    for module, path in modules(package).items():
        mine = folder(module)
        graph.setdefault(mine, set()).update({folder(name) for name in imports(path)} - {mine})
    return graph


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_itself_and_those_before_it(package):
    later = PACKAGES[PACKAGES.index(package) + 1 :]
    used = [(name, each) for name, path in modules(package).items() for each in imports(path)]
    wrong = [(name, each) for name, each in used if each.partition(".")[0] in later]
    assert wrong == []


@pytest.mark.parametrize("package", ["datasets", "pipelines"])
def test_no_circle_between_folders(package):
    try:
        TopologicalSorter(folders_imported(package)).prepare()
    except CycleError as error:
        pytest.fail(f"folders import each other: {' <- '.join(error.args[1])}")


def test_no_circle_between_modules_of_the_library():
    """Its folders hold parts of one thing: those above them use them, and they use those above."""
    others = {module: path for module, path in modules("motion_encoder").items() if module != "motion_encoder"}
    graph = {module: set(imports(path)) - {module} for module, path in others.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' <- '.join(error.args[1])}")


def test_the_check_sees_a_circle(tmp_path, monkeypatch):
    written = {"a/x.py": "def f():\n    from datasets.b import y\n", "b/y.py": "import datasets.a.x as x\n"}
    for name, text in written.items():
        (tmp_path / "datasets" / name).parent.mkdir(parents=True)
        (tmp_path / "datasets" / name).write_text(text)
    monkeypatch.setattr("tests.test_imports.CHECKOUT", tmp_path)
    monkeypatch.setattr("tests.test_imports.MODULES", modules("datasets"))
    with pytest.raises(pytest.fail.Exception, match=r"datasets/a <- datasets/b|datasets/b <- datasets/a"):
        test_no_circle_between_folders("datasets")


def test_checks_plans_and_stores_need_none_of_the_readers_libraries():
    code = (
        "import sys, datasets.extraction.finish, datasets.quality.checks, datasets.loading.gather; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert {"h5py", "c3d", "scipy", "datasets.readers.registry"} & set(done.stdout.split()) == set()
