"""The models of zoo.toml.

Invariant: every factory here returns an `nn.Module` built from a config alone (no downloads),
whose forward takes and returns plain tensors, so a delivered archive runs without transformers.
"""
