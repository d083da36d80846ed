"""Which torchvision fits a torch: that of its version, for the same CPU or CUDA."""

from __future__ import annotations

import pytest

from batchexport.core.wheels import fits, install_torchvision


@pytest.mark.parametrize(
    ("torch", "torchvision", "fit"),
    [
        ("2.13.0+cpu", "0.28.0+cpu", True),
        ("2.13.0+cpu", "0.28.1+cpu", True),
        ("2.13.0+cpu", "0.28.0+cu130", False),
        ("2.13.0+cpu", "0.29.1+cpu", False),
        ("2.5.1+cu124", "0.20.1+cu124", True),
        ("2.13.0", "0.28.0", True),
        ("3.0.0+cpu", "1.0.0+cpu", True),
        ("unknown", "0.28.0+cpu", True),
    ],
)
def test_they_fit_by_version_and_by_kind_of_build(torch: str, torchvision: str, fit: bool) -> None:
    assert fits(torch, torchvision) is fit


def test_the_command_installs_the_build_for_this_torch() -> None:
    cpu = "pip install 'torchvision==0.28.*' --index-url https://download.pytorch.org/whl/cpu"
    assert install_torchvision("2.13.0+cpu") == cpu
    assert install_torchvision("2.13.0+cpu", "timm") == f"{cpu} && pip install timm"
    assert install_torchvision("2.13.0") == "pip install 'torchvision==0.28.*'"
    assert install_torchvision("3.1.0") == "pip install torchvision"
