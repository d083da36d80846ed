"""What is up to date, what must run, and why; starts nothing and imports no torch.

In: options and the state of manifest, store and machine. Out: hits and misses by stage, a plan, or the memo of a run
that had nothing to do.
"""
