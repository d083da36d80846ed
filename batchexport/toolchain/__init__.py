"""Facts about this machine and this installation, read without importing torch.

In: files of the system, the environment, what `g++` and `nvidia-smi` answer. Out: plain values for keys, for pools
and for `doctor`.
"""
