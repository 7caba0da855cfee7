"""What people name in place of weights: the error says what it is, and what to do."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from motion_encoder import SIZES, DSTformer, load
from motion_encoder.command_line import main
from motion_encoder.io.export import export_model


def in_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped(buffer: io.BytesIO) -> None:
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("README.md", "weights")
        archive.writestr("best_epoch.bin", b"\x80")


def tarred(buffer: io.BytesIO) -> None:
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("best_epoch.bin"), io.BytesIO())


def scripted(buffer: io.BytesIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and yet what people have
        torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1)), buffer)


PAGE = b"\xef\xbb\xbf\n<!doctype html>\n<html><head><title>Sign in to your account</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 169930009\n" % (b"0" * 64)
CASES = {
    "page": (PAGE, r"a web page \('Sign in to your account'\), not weights: .*Download the file in a browser"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page, not weights"),
    "pointer": (POINTER, r"a Git LFS pointer to 169,930,009 bytes .*`git lfs pull`"),
    "empty": (b"", "the file is empty.*Fetch the file again"),
    "zeros": (bytes(5000), "begins with 1024 zeros: the disk was full"),
    "json": (
        json.dumps({"error": "quota"}).encode(),
        r"""text that begins with '{"error": "quota"}'\. Expected the we""",
    ),
    "text": ("Größe\n".encode(), "text that begins with 'Größe"),
    "zip": (in_memory(zipped), r"a zip archive of README\.md, best_epoch\.bin\. Unpack it"),
    "tar": (in_memory(tarred), "a tar archive. Unpack it"),
    "gzip": (gzip.compress(b"weights"), "compressed with gzip. Unpack it"),
    "bzip2": (bz2.compress(b"weights"), "compressed with bzip2. Unpack it"),
    "xz": (lzma.compress(b"weights"), "compressed with xz. Unpack it"),
    "npz": (in_memory(lambda buffer: np.savez(buffer, x=np.ones(2))), r"a NumPy archive of x\.npy, not weights"),
    "npy": (in_memory(lambda buffer: np.save(buffer, np.ones(2))), "a NumPy array"),
    "pickle": (pickle.dumps({"temp_embed": [1.0]}), r"a pickle that torch\.save did not write"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "noise": (bytes(range(128, 192)), "a file of unknown kind, which begins with 80 81|a pickle"),
    "scripted": (in_memory(scripted), r"a TorchScript program.*torch\.jit\.load\(FILE\)\.state_dict\(\)"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says_what_it_is(tmp_path, capsys, case):
    content, message = CASES[case]
    path = tmp_path / "best_epoch.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"best_epoch\.bin: {message}"):
        load(path)
    assert main(["inspect", str(path)]) == 2
    assert "best_epoch.bin: " in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_exported_programs_are_no_weights(tmp_path, suffix):
    model = DSTformer(SIZES["tiny"], torch.Generator().manual_seed(0)).eval()
    export_model(model, tmp_path / f"model{suffix}", task="pose3d")
    with pytest.raises(ValueError, match=r"program.*cannot be converted back. Pass the model it was exported from"):
        load(tmp_path / f"model{suffix}")


def test_a_page_at_a_url_is_named_by_its_url(tmp_path):
    (tmp_path / "best_epoch.bin").write_bytes(PAGE)
    with pytest.raises(ValueError, match=r"^file://.*/best_epoch\.bin: a web page"):
        load(f"file://{tmp_path}/best_epoch.bin")


def test_the_weights_of_a_scripted_network_can_be_saved_as_the_error_says(tmp_path):
    path = Path(tmp_path / "scripted.pt")
    path.write_bytes(in_memory(scripted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.jit.load(path).state_dict(), tmp_path / "weights.bin")
    with pytest.raises(ValueError, match=r"no DSTformer: .*found the tensors weight, bias"):
        load(tmp_path / "weights.bin")
