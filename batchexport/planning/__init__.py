"""What is up to date, what must run, and why; starts nothing and imports no torch.

It takes the options and the state of manifest, store and machine. It returns hits and misses by stage, a plan, or
the saved report of a run that had nothing to do.
"""
