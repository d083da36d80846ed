"""Data and leaf helpers that every room shares; imports nothing else of this package.

In: plain values. Out: frozen dataclasses, digests, keys, text. Nothing here starts a process or knows a cache.
"""
