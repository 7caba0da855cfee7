"""Runs in the sandbox: whether a pickle is data, or why not."""

from collections.abc import Iterator

from datasets.containers.pickles import loads
from datasets.sandbox.messages import Message
from datasets.sequences import RecordingError


def printed(content: bytes) -> Iterator[Message]:
    try:
        yield Message(value=len(repr(loads(content, "x.pkl"))))
    except RecordingError as error:
        yield Message(value=str(error))
