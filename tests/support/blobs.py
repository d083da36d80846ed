"""Blobs made of bytes: what a test of the store puts into it."""

from __future__ import annotations

from batchexport.store.blobs import Blob, Blobs


def put_bytes(blobs: Blobs, data: bytes) -> Blob:
    """Store `data`, as a stage stores a file that it wrote."""
    folder = blobs._staging.attempt("bytes")
    path = folder / "data"
    path.write_bytes(data)
    try:
        return blobs.put(path)
    finally:
        blobs._staging.discard(folder)
