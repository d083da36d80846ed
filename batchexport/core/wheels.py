"""Tell which torchvision fits a torch, by their versions alone."""

from __future__ import annotations

import re

_VERSION = re.compile(r"(\d+)\.(\d+)[^+]*(?:\+(\w+))?")
_MINOR = 15  # torch 2.0 came with torchvision 0.15, and each minor version since with the next one
_INDEX = "https://download.pytorch.org/whl/"


def fits(torch: str, torchvision: str) -> bool:
    """Return whether a torchvision was built for this torch: for its version, and for the same CPU or CUDA."""
    one, other = _VERSION.match(torch), _VERSION.match(torchvision)
    if one is None or other is None:
        return True  # a build of unknown kind
    is_release = one[1] == "2" and other[1] == "0"
    return (not is_release or int(other[2]) == int(one[2]) + _MINOR) and (one[3] or "") == (other[3] or "")


def install_torchvision(torch: str, *more: str) -> str:
    """Return the command that installs the torchvision for a torch, and `more` packages that need it."""
    found = _VERSION.match(torch)
    if found is None or found[1] != "2":
        return " ".join(("pip install torchvision", *more))
    command = f"pip install 'torchvision==0.{int(found[2]) + _MINOR}.*'"
    if found[3]:
        command += f" --index-url {_INDEX}{found[3]}"
    return command + "".join(f" && pip install {one}" for one in more)
