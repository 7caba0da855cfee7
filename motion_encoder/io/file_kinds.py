"""Explain what a file without weights is, and how to get the weights.

Common mistakes are a web page that a server sent instead of the download, a Git LFS pointer, an archive that was not
unpacked, and an exported program. Each kind is recognised by its first bytes.
"""

import codecs
import re
import zipfile
from pathlib import Path

from motion_encoder.io.model_spec import shortened

TORCH_LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""First bytes of a ``torch.save`` file before torch 1.6: a pickle of a fixed number; pickles and tensors follow."""
ZIP_MAGIC = b"PK\x03\x04"
_HEAD = 1024
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
}
_OF_TORCH = {"data.pkl", "version", "byteorder"}
_OF_PROGRAMS = {
    "constants.pkl": "a TorchScript program, not weights. Save only its weights: "
    "torch.save(torch.jit.load(FILE).state_dict(), 'weights.bin').",
    "archive_format": "a torch.export program, which cannot be converted back. Pass the model it was exported from.",
}
"""Files in a zip archive that show that ``torch.jit.save`` or ``torch.export.save`` wrote it."""
_TAR_MAGIC, _TAR_OFFSET = b"ustar", 257
_LFS = re.compile(rb"version https://git-lfs\.github\.com/spec/.*?size (\d+)", re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>\s*(.*?)\s*</title", re.DOTALL | re.IGNORECASE)
_FETCH = "Fetch the file again."
_EXPECTED = "Expected the weights of a model: torch.save's format or safetensors."


def is_torch_file(path: Path) -> bool:
    """Return whether the file was written by ``torch.save``; it may be truncated."""
    start = _head(path)
    if start.startswith(TORCH_LEGACY_MAGIC):
        return True
    return start.startswith(ZIP_MAGIC) and _names_in_zip(path) is None


def is_safetensors(path: Path) -> bool:
    """Return whether the file begins like safetensors, with the header's length in 8 bytes, then JSON."""
    return _head(path)[8:9] == b"{"


def explain(path: Path) -> str:
    """Return what a file is if it is neither of these, and what the user can do."""
    start = _head(path)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return f"the file is empty: its download failed, or the disk was full. {_FETCH}"
    if (pointer := _LFS.match(text)) is not None:
        return (
            f"a Git LFS pointer to {int(pointer[1]):,} bytes of weights. "
            "Run `git lfs pull` in the clone that it comes from, or download the file itself."
        )
    if text[:1] == b"<":
        return _explain_page(text)
    if (names := _names_in_zip(path)) is not None:
        return _explain_zip(names)
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            return f"compressed with {name}. Unpack it, and pass the weights file inside."
    if start[_TAR_OFFSET:].startswith(_TAR_MAGIC):
        return "a tar archive. Unpack it, and pass the weights file inside."
    return f"{_explain_other(start, text)} {_EXPECTED}"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _explain_page(text: bytes) -> str:
    title = _TITLE.search(text)
    called = f" ({title[1].decode(errors='replace')[:80]!r})" if title else ""
    return (
        f"a web page{called}, not weights: the server probably asked for a sign-in or a confirmation. "
        "Download the file in a browser, and compare its size with the one on the web page."
    )


def _names_in_zip(path: Path) -> list[str] | None:
    """Return the names in a zip archive; None if ``torch.save`` wrote it, or if the file is not a zip archive.

    A truncated archive has lost its list of names; the result is None, so that torch's own reader reports it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # noqa: BLE001 a damaged archive may raise any exception; torch's reader then reports the damage
        return None
    members = {name.partition("/")[2] for name in names}
    return None if members & _OF_TORCH and not members & _OF_PROGRAMS.keys() else names


def _explain_zip(names: list[str]) -> str:
    for member, explanation in _OF_PROGRAMS.items():
        if any(name.partition("/")[2] == member for name in names):
            return explanation
    if names and all(name.endswith(".npy") for name in names):
        return f"a NumPy archive of {shortened(names)}, not weights. {_EXPECTED}"
    return f"a zip archive of {shortened(names) or 'nothing'}. Unpack it, and pass the weights file inside."


def _explain_other(start: bytes, text: bytes) -> str:
    if not start.strip(b"\x00"):
        return f"begins with {len(start)} zeros: the disk was full, or the download failed. {_FETCH}"
    if start.startswith(b"\x89HDF\r\n"):
        return "an HDF5 file (perhaps of Keras)."
    if start.startswith(b"\x93NUMPY"):
        return "a NumPy array."
    if start.startswith(b"\x80"):
        return "a pickle that torch.save did not write."
    if b"pytorch" in start[:32]:
        return "an ONNX file, which cannot be converted back. Pass the model it was exported from."
    if _is_text(text):
        first_line = text.splitlines()[0][:60].decode(errors="replace") if text else ""
        return f"text that begins with {first_line!r}."
    return f"a file of unknown kind, which begins with {start[:16].hex(' ')}."


def _is_text(start: bytes) -> bool:
    """Return whether the bytes are printable UTF-8; the last character may be incomplete."""
    try:
        characters = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in characters)
