"""Decide what is up to date, what must run, and why, without starting anything or importing torch.

It takes the options and the state of manifest, store and machine. It returns hits and misses by stage, a plan, or
the saved report of a run that had nothing to do.
"""
