"""Write the files in weights/: checkpoints of `features.models:Net` in every form, and inputs.

    cd manifests && python -m features.make_weights

The files are under version control; this says where they came from.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from features.calls import batches
from features.models import Net

FOLDER = Path(__file__).parent / "weights"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(1)
    state = Net().state_dict()
    tuned = {name: tensor + 0.125 for name, tensor in state.items()}
    save_file(state, FOLDER / "net.safetensors")
    save_file(tuned, FOLDER / "tuned.safetensors")
    torch.save(
        {"epoch": 3, "model": {"state": {f"module.{name}": tensor for name, tensor in state.items()}}},
        FOLDER / "training.pt",
    )
    names = sorted(state)
    shards = {"net-00001-of-00002.safetensors": names[:2], "net-00002-of-00002.safetensors": names[2:]}
    for shard, held in shards.items():
        save_file({name: state[name] for name in held}, FOLDER / shard)
    places = {name: shard for shard, held in shards.items() for name in held}
    index = {"metadata": {}, "weight_map": places}
    (FOLDER / "net.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    save_file(batches(), FOLDER / "inputs.safetensors")


if __name__ == "__main__":
    main()
