"""Runs in the sandbox: what can be read of a MATLAB file, or why not."""

from collections.abc import Iterator

from datasets.containers.matlab import read_variables
from datasets.sandbox.messages import Message
from datasets.sequences import RecordingError


def read(path: str, names: list[str]) -> Iterator[Message]:
    """The names of the variables that were found, or the reason."""
    try:
        yield Message(value=sorted(read_variables(path, names)))
    except RecordingError as error:
        yield Message(value=str(error))
