"""The command line of every job: a frozen dataclass, its defaults from a recipe, overrides by tyro.

A user's mistake (``ValueError``), and a place that cannot be reached or written, end a job with a message and exit
status 2; anything else is a bug and shows its trace, with status 1.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tyro
from botocore.exceptions import BotoCoreError, ClientError

Config = TypeVar("Config")


def run_job(job: Callable[[Config], object], config: Callable[[Sequence[str]], Config]) -> None:
    """Parse the command line, run the job, turn users' mistakes into messages."""
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
        cause = getattr(error, "cause", None) or error  # of a task on another machine
        logging.getLogger(__name__).error("error: %s: %s", type(cause).__name__, cause)
        sys.exit(2)
    except KeyboardInterrupt:
        logging.getLogger(__name__).error("stopped; run the same command again: what was finished is kept")
        sys.exit(130)


def parse(config_type: type[Config], description: str, arguments: Sequence[str]) -> Config:
    """Parse a job's options; tyro explains each, and refuses unknown ones with exit status 2."""
    return tyro.cli(config_type, args=list(arguments), description=description, prog=_program())


def parse_recipe(
    config_type: type[Config],
    recipes: Mapping[str, Callable[[], Any]],
    default: str,
    defaults: Callable[[Any], Config],
    description: str,
    arguments: Sequence[str],
) -> Config:
    """As ``parse``, with an optional recipe name before the options that chooses the ``defaults``.

    Raises:
        ValueError: no recipe of that name.
    """
    names = [*arguments[:1]] if arguments and not arguments[0].startswith("-") else []
    name = names[0] if names else default
    if name not in recipes:
        raise ValueError(f"no recipe {name!r}; there are: {', '.join(recipes)}")
    listed = "\n".join(f"  {each}: {(recipe.__doc__ or '').splitlines()[0]}" for each, recipe in recipes.items())
    return tyro.cli(
        config_type,
        args=list(arguments[len(names) :]),
        default=defaults(recipes[name]()),
        description=f"{description}\n\nRecipes (the first word; {default} if left out):\n{listed}",
        prog=f"{_program()} [RECIPE]",
    )


def _program() -> str:
    return sys.argv[0].rpartition("/")[2]
