"""All tasks and recipes: those in ``MODULES``, those of installed packages, and those that were registered.

A task of this package is one module, listed in ``MODULES``. A task of another package is found in one of three ways:

- a recipe ``package.module:function`` on a command line imports its module;
- an entry point of the group ``motion_encoder.tasks`` names its module, so that it is always found;
- its module calls ``register_task`` when it is imported.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from motion_encoder.tasks import action, pose
from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.task import Task

MODULES: tuple[ModuleType, ...] = (pose, action)
ENTRY_POINTS = "motion_encoder.tasks"
"""Group of entry points; each names a module with ``TASKS`` and, if it has recipes, ``RECIPES``."""
PRETRAINING = pose.Pretraining.name

AnyTask = Task[Any, Any]
MakeRecipe = Callable[[], Recipe]
_REGISTERED: dict[str, AnyTask] = {}


def register_task(task: AnyTask) -> None:
    """Register a task of another package in this process.

    Raises:
        ValueError: another task has the same name.
    """
    known = _tasks().get(task.name)
    if known is not None and type(known).__qualname__ != type(task).__qualname__:
        raise ValueError(f"task {task.name!r}: expected a new name, found one that {type(known).__qualname__} has")
    _REGISTERED[task.name] = task


def find_task(name: str) -> AnyTask:
    """Return the task of this name.

    Raises:
        ValueError: there is no such task.
    """
    tasks = _tasks()
    if name not in tasks:
        raise ValueError(
            f"task: expected one of {', '.join(sorted(tasks))}, found {name!r}. "
            "If it is a task of another package, import the module that registers it first."
        )
    return tasks[name]


def task_names() -> tuple[str, ...]:
    """Return the names of all known tasks."""
    return tuple(_tasks())


def recipes() -> dict[str, MakeRecipe]:
    """Return all known recipes by name."""
    return {make.__name__: make for module in _modules() for make in getattr(module, "RECIPES", ())}


def find_recipe(name: str) -> Recipe:
    """Make the recipe of this name, or of ``package.module:function``.

    Raises:
        ValueError: there is no such recipe.
    """
    if ":" in name:
        return _outside_recipe(name)
    known = recipes()
    if name not in known:
        raise ValueError(
            f"recipe: expected one of {', '.join(known)} or package.module:function of your own, found {name!r}"
        )
    return known[name]()


def outside_modules(recipes: Iterable[Recipe]) -> list[str]:
    """Return the modules of other packages that define the recipes' classes; workers have to import them, too."""
    modules = {type(recipe).__module__ for recipe in recipes}
    return sorted(module for module in modules if module.partition(".")[0] != __name__.partition(".")[0])


def import_modules(names: Iterable[str]) -> list[ModuleType]:
    """Import modules of other packages, so that their tasks are known.

    Raises:
        ValueError: one cannot be imported.
    """
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            raise ValueError(f"module {name} cannot be imported: {error}. Is its folder on PYTHONPATH?") from error
    return modules


def _outside_recipe(name: str) -> Recipe:
    module_name, _, function = name.partition(":")
    [module] = import_modules([module_name])
    make = getattr(module, function, None)
    if not callable(make):
        raise ValueError(f"recipe {name}: expected a function {function!r} in {module_name}, found none")
    recipe = make()
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe {name}: expected a Recipe from {function}(), found a {type(recipe).__name__}")
    return recipe


def _tasks() -> dict[str, AnyTask]:
    return {task.name: task for module in _modules() for task in module.TASKS} | _REGISTERED


def _modules() -> Iterator[ModuleType]:
    yield from MODULES
    yield from _offered_modules()


@cache
def _offered_modules() -> tuple[ModuleType, ...]:
    return tuple(each.load() for each in entry_points(group=ENTRY_POINTS))
