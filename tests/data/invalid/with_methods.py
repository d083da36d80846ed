"""The model that 65-unknown-methods.toml names."""

from torch import nn


class Base(nn.Module):
    def encode(self, x):
        return x


class Coder(Base):
    def forward(self, x):
        return x

    def decode(self, x):
        return x

    @staticmethod
    def scale(x):
        return x
