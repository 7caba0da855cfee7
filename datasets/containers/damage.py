"""One answer of all containers to damaged bytes: the file is named, and what its parser said is the reason."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datasets.files import is_transient
from datasets.sequences import RecordingError

_SHOWN = 200


@contextmanager
def blame_file(make_error: Callable[[str], RecordingError]) -> Iterator[None]:
    """Turn an exception of a parser into ``make_error(found)``, where ``found`` is its type and message.

    Errors that already name the recording, a lack of memory, and errors that a retry may fix are passed on.

    Raises:
        RecordingError: the parser could not read the bytes.
    """
    try:
        yield
    except (RecordingError, MemoryError):
        raise
    except Exception as error:  # the parsers of h5py, SciPy, numpy and pickle raise anything on damaged bytes
        if is_transient(error):
            raise
        raise make_error(f"{type(error).__name__}: {str(error)[:_SHOWN]}") from error
