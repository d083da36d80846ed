"""A method that the class of a model can't have is a mistake of the manifest; where nothing is certain, it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.core.errors import ManifestError
from batchexport.manifest import resolve

HEAD = "import torch\nfrom torch import nn\n"
NET = (
    "class Net(nn.Module):\n    def forward(self, x):\n        return x\n\n    def decode(self, x):\n        return x\n"
)
MANIFEST = 'schema = 1\n[[entry]]\nname = "a"\nmodel = "{model}"\nmethod = "{method}"\n{more}\n'


def refused(root: Path, files: dict[str, str], method: str = "decoed", model: str = "net:Net", more: str = "") -> bool:
    """Whether the manifest is refused; if so, for the method alone."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "m.toml").write_text(MANIFEST.format(model=model, method=method, more=more))
    try:
        resolve.load(root / "m.toml")
    except ManifestError as error:
        return "has no method" in str(error)
    return False


@pytest.mark.parametrize(
    "text",
    [
        HEAD + NET,
        HEAD + NET.replace("nn.Module", "torch.nn.Module"),
        "import torch.nn as nn\n" + NET,
        "from torch.nn import Module\n" + NET.replace("nn.Module", "Module"),
        HEAD + "class Base(nn.Module):\n    pass\n" + NET.replace("nn.Module", "Base"),
        HEAD + NET + "class Other(nn.Module):\n    def decoed(self, x):\n        return x\n",
    ],
)
def test_a_class_of_plain_source_is_certain(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, {"net.py": text})
    assert not refused(tmp_path, {}, method="decode")


@pytest.mark.parametrize(
    "text",
    [
        HEAD + NET.replace("nn.Module", "Elsewhere"),
        HEAD + NET.replace("nn.Module", "nn.Linear"),
        HEAD + NET.replace("nn.Module", "nn.Module, Mixin"),
        HEAD + NET.replace("nn.Module", "nn.Module, metaclass=Meta"),
        NET,  # what is nn?
        "from mine import nn\n" + NET,
        HEAD + "@decorated\n" + NET,
        HEAD + NET + "    def __getattr__(self, name):\n        return self.decode\n",
        HEAD + NET + "\nNet.decoed = Net.decode\n",
        HEAD + NET + "\nsetattr(Net, NAME, Net.decode)\n",
        HEAD + NET + "    decoed = decode\n",
        HEAD + NET + "    from other import decoed\n",
        HEAD + NET + "\nNet = wrapped(Net)\n",
        HEAD + NET + "\ndef Net():\n    return 1\n",
        HEAD + "from other import *\n" + NET,
        HEAD + "if True:\n    class Net(nn.Module):\n        pass\n",
        HEAD + "class Net(Net):\n    pass\n",
        HEAD + "def Net(n):\n    return n\n",
        "class Net(:\n",
    ],
)
def test_where_a_class_could_have_it_nonetheless_the_build_decides(tmp_path: Path, text: str) -> None:
    assert not refused(tmp_path, {"net.py": text})


def test_bases_in_other_files_count(tmp_path: Path) -> None:
    derived = "from ..base import Net as Base\n" + NET.replace("nn.Module", "Base")
    files = {"pkg/__init__.py": "", "pkg/base.py": HEAD + NET, "pkg/sub/__init__.py": "from .net import Net\n"}
    files["pkg/sub/net.py"] = derived
    assert refused(tmp_path, files, model="pkg.sub:Net")
    assert refused(tmp_path, {}, model="pkg.sub.net:Net")
    assert not refused(tmp_path, {}, model="pkg.sub.net:Net", method="decode")
    assert not refused(tmp_path, {"pkg/base.py": HEAD + NET + "\n    def decoed(self): ...\n"}, model="pkg.sub:Net")


@pytest.mark.parametrize(
    ("method", "model", "more"),
    [
        ("part.decoed", "net:Net", ""),
        ("state_dict", "net:Net", ""),
        ("decoed", "net:Net.inner", ""),
        ("decoed", "absent:Net", ""),
        ("decoed", "net:Absent", ""),
        ("decoed", "net.pt", ""),
        ("decoed", "timm:resnet18", ""),
        ("decoed", "net:Net", 'imports = ["patches"]'),
    ],
)
def test_what_source_does_not_tell_is_left_to_the_build(tmp_path: Path, method: str, model: str, more: str) -> None:
    assert not refused(tmp_path, {"net.py": HEAD + NET}, method, model, more)


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    assert refused(tmp_path, {"net.py": HEAD + NET})
    assert not refused(tmp_path, {"net.py": HEAD + NET.replace("def decode", "def decoed")})


def test_a_module_beside_a_package_of_its_name_is_not_guessed_at(tmp_path: Path) -> None:
    assert not refused(tmp_path, {"net.py": HEAD + NET, "net/__init__.py": HEAD + NET})
