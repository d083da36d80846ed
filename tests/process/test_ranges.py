"""Compiled models hold at both ends of their dims, and refuse what is outside, in plain torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import GUARD, Project

pytestmark = [pytest.mark.process, pytest.mark.torch]

HEAD = """
schema = 1

[cache]
dir = "cache"

"""
NETS = """
import torch
import torch.nn.functional as F
from torch import nn


def conv(ins, outs, kernel=3, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outs)
    )


class Residual(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        self.first, self.second = conv(ins, outs, 3, stride), conv(outs, outs)
        self.down = conv(ins, outs, 1, stride) if stride != 1 or ins != outs else nn.Identity()

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.down(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.pool = conv(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1)
        self.layers = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 32, 2))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.layers(self.pool(F.relu(self.stem(x))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Inverted(nn.Module):
    def __init__(self, ins, outs, stride):
        super().__init__()
        wide, self.skips = ins * 4, stride == 1 and ins == outs
        self.body = nn.Sequential(
            conv(ins, wide, 1), nn.ReLU6(), conv(wide, wide, 3, stride, wide), nn.ReLU6(), conv(wide, outs, 1)
        )

    def forward(self, x):
        return x + self.body(x) if self.skips else self.body(x)


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = Inverted(8, 8, 1), Inverted(8, 16, 2), Inverted(16, 16, 1)
        self.features = nn.Sequential(conv(3, 8, 3, 2), nn.ReLU6(), *blocks)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 10))

    def forward(self, x):
        return self.head(self.features(x).mean([2, 3]))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.joined = conv(3, 8), conv(8, 16), conv(16, 8)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        fine = F.relu(self.first(x))
        coarse = F.relu(self.second(F.max_pool2d(fine, 2)))
        return self.out(F.relu(self.joined(torch.cat([fine, self.up(coarse)], 1))))


class Masked(nn.Module):
    def forward(self, x, mask):
        batch, length, _ = x.shape
        heads = x.view(batch, length, 2, 4).transpose(1, 2)
        seen = mask[:, None, None, :].expand(batch, 1, length, length)  # asks whether the length is 1
        return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=seen)
"""
# Models, each with the largest batch that one of its jobs is for.
JOBS = (("ResNet", 16), ("ResNet", 64), ("MobileNet", 64), ("UNet", 16))
PLAIN_TORCH = """
import json, os, sys
os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
import nets, torch
for name, top in json.loads(sys.argv[1]):
    torch.manual_seed(0)
    eager = getattr(nets, name)().eval()
    run = torch._inductor.aoti_load_package(f"dist/{name}-{top}@cpu/compiled.pt2")
    with torch.no_grad():
        for batch in (1, 2, 15, 16, top - 1, top):
            x = torch.randn(batch, 3, 32, 32)
            torch.testing.assert_close(run(x=x), eager(x), rtol=1e-4, atol=1e-5)
        for batch in (0, top + 1):
            try:
                run(x=torch.randn(batch, 3, 32, 32))
            except RuntimeError:
                continue
            raise AssertionError(f"{name} takes a batch of {batch}")
run = torch._inductor.aoti_load_package("dist/Masked@cpu/compiled.pt2")
for batch, length in ((1, 1), (4, 1), (1, 32), (4, 32), (2, 16)):
    given = torch.randn(batch, length, 8), torch.ones(batch, length, dtype=torch.bool)
    torch.testing.assert_close(run(x=given[0], mask=given[1]), nets.Masked()(*given), rtol=1e-4, atol=1e-5)
assert "batchexport" not in sys.modules
"""


MASKED = """
name = "Masked"
model = "nets:Masked"
dims = { batch = { min = 1, max = 4, example = 2 }, length = { min = 1, max = 32, example = 16 } }

[entry.inputs]
x = { shape = ["batch", "length", 8] }
mask = { shape = ["batch", "length"], dtype = "bool", value = true }
"""


def test_models_hold_at_both_ends_of_their_dims(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("nets.py", NETS)
    entries = [
        f'name = "{name}-{top}"\nmodel = "nets:{name}"\ndims = {{ batch = {{ min = 1, max = {top} }} }}\n'
        'inputs = { x = { shape = ["batch", 3, 32, 32] } }'
        for name, top in JOBS
    ]
    project.manifest(*entries, MASKED, head=HEAD)
    ran = project.run()
    assert all(job["ok"] for job in ran.jobs.values()), ran.stdout
    plain = [sys.executable, "-c", PLAIN_TORCH, json.dumps(JOBS)]
    ended = subprocess.run(plain, cwd=tmp_path, capture_output=True, text=True, timeout=GUARD, check=False)
    assert ended.returncode == 0, ended.stderr
