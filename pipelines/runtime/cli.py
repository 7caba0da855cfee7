"""The command line of every job. Options are a frozen dataclass, whose defaults may come from a recipe; tyro parses it.

A mistake of the user (``ValueError``), or a file or server that cannot be reached or written, ends a job with a message
and exit status 2. Any other exception is a bug: it shows its trace and ends with status 1.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import tyro
from botocore.exceptions import BotoCoreError, ClientError

from motion_encoder.tasks.recipe import Recipe
from motion_encoder.tasks.registry import find_recipe, recipes

Config = TypeVar("Config")


def run_job(job: Callable[[Config], object], config: Callable[[Sequence[str]], Config]) -> None:
    """Parse the command line and run the job; report mistakes of the user as one message, without a trace."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("mlflow", "alembic", "ray", "httpx", "botocore", "aiobotocore", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        job(config(sys.argv[1:]))
    except ValueError as error:
        logging.getLogger(__name__).error("error: %s", error)
        sys.exit(2)
    except (OSError, BotoCoreError, ClientError) as error:
        cause = getattr(error, "cause", None) or error  # Ray wraps the error of a task on another machine
        logging.getLogger(__name__).error("error: %s: %s", type(cause).__name__, cause)
        sys.exit(2)
    except KeyboardInterrupt:
        logging.getLogger(__name__).error("stopped. Finished work is kept; run the same command again to continue")
        sys.exit(130)


def parse(config_type: type[Config], description: str, arguments: Sequence[str]) -> Config:
    """Parse the options of a job. tyro prints the help, and rejects unknown options with exit status 2."""
    return tyro.cli(config_type, args=list(arguments), description=description, prog=_program())


@dataclass(frozen=True, kw_only=True)
class RecipeChoice:
    """Which recipes a job accepts on its command line."""

    kind: Callable[[Recipe], bool]
    """Returns whether a recipe is for this job."""
    default: tuple[str, ...]
    """Names of the recipes to use if none is given."""
    several: bool
    """Whether more than one recipe may be given."""


def parse_with_recipes(
    config_type: type[Config],
    choice: RecipeChoice,
    *,
    defaults: Callable[[dict[str, Recipe]], Config],
    description: str,
    arguments: Sequence[str],
) -> Config:
    """Parse the options of a job that takes recipes, which come before the options.

    A recipe is given by its name, or as ``package.module:function``. ``--recipe NAME`` means the same as a leading
    ``NAME``. ``defaults`` makes the job's options from the chosen recipes; every field of a recipe can be overridden.

    Raises:
        ValueError: a recipe is unknown or is for another job, or the number of recipes is wrong.
    """
    names, options = _take_recipes(arguments)
    chosen = _recipes(names or list(choice.default), choice)
    listed = "\n".join(f"  {name}: {_first_line(make)}" for name, make in recipes().items() if choice.kind(make()))
    words = "RECIPE ..." if choice.several else "RECIPE"
    return tyro.cli(
        config_type,
        args=options,
        default=defaults(chosen),
        description=f"{description}\n\nRecipes, given before the options (default: {' '.join(choice.default)}). "
        "--recipe package.module:function is a recipe of your own. Every field of a recipe is an option "
        f"below.\n{listed}",
        prog=f"{_program()} [{words}]",
    )


def _take_recipes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the command line into names of recipes and options."""
    first_option = next((place for place, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    names, options = list(arguments[:first_option]), list(arguments[first_option:])
    while "--recipe" in options:
        place = options.index("--recipe")
        if place + 1 == len(options):
            raise ValueError("--recipe: expected the name of a recipe after it, found nothing")
        names.append(options[place + 1])
        del options[place : place + 2]
    return names, options


def _recipes(names: Sequence[str], choice: RecipeChoice) -> dict[str, Recipe]:
    found = [find_recipe(name) for name in names]
    if len(found) > 1 and not choice.several:
        raise ValueError(f"recipe: expected one, found {', '.join(names)}")
    if len({recipe.name for recipe in found}) < len(found):
        raise ValueError(f"recipes: expected each recipe once, found {', '.join(names)}")
    if others := [name for name, recipe in zip(names, found, strict=True) if not choice.kind(recipe)]:
        fitting = ", ".join(name for name, make in recipes().items() if choice.kind(make()))
        raise ValueError(f"recipe {', '.join(others)}: expected a recipe for this job ({fitting})")
    return {recipe.name: recipe for recipe in found}


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().splitlines()[0] if function.__doc__ else ""


def _program() -> str:
    return sys.argv[0].rpartition("/")[2]
