"""The version is written here and nowhere else; hatchling reads it from this file."""

__version__ = "0.1.0"
