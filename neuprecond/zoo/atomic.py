"""Tensors on disk, written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

__all__ = ["write_bytes", "write_tensors"]


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace the file at once: a reader sees the old content or the new, never a part.

    Raises
    ------
    OSError
        If the disk is full, for example; the old file is still there then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file at once."""
    plain = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    write_bytes(path, save(plain, metadata=dict(metadata)))
