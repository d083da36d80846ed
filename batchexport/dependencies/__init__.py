"""What a stage depends on: observed in the child, checked again in the coordinator, in one row format.

`dependencies.observer` watches and `dependencies.collect` accounts for what it saw; `dependencies.checker` says what
changed since, `dependencies.traces` which export still stands. `checker` documents the rows.
"""
