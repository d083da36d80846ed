"""Observe in the child what a stage depends on, and check it again in the coordinator, in one row format.

`dependency` defines the format. `observer` records what a stage reads, and `collect` turns the records into
dependencies. `checker` compares stored dependencies with the present state, and `traces` finds the export whose
dependencies are all unchanged.
"""
