"""The beginning of text files, for formats that are recognised by their first words and not by their names.

Files whose suffix belongs to another kind of file are not opened, so that a folder of a million pictures costs nothing.
"""

import codecs
from pathlib import PurePosixPath

from datasets.files import head
from datasets.sequences import File

SOMETHING_ELSE = frozenset(
    {
        ".asf", ".bvh", ".amc", ".c3d", ".json", ".jsonl", ".npz", ".npy", ".pkl", ".pickle", ".mat", ".h5", ".hdf5",
        ".parquet", ".csv", ".xml", ".fbx", ".skeleton", ".calibration", ".pt", ".pth", ".safetensors", ".zip", ".gz",
        ".tar", ".7z", ".rar", ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".svg", ".mp4",
        ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wav", ".mp3", ".pdf", ".html", ".md", ".rst", ".yaml",
        ".yml", ".toml", ".py", ".m", ".sh", ".ipynb",
    }
)  # fmt: skip


def text_head(file: File) -> bytes:
    """Return the first bytes after the byte order mark and white space; empty for files with another kind's suffix."""
    if PurePosixPath(file.path).suffix.lower() in SOMETHING_ELSE:
        return b""
    return head(file).removeprefix(codecs.BOM_UTF8).lstrip()
