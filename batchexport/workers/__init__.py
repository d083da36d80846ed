"""Child processes: start, watch and kill them, and say how each one ended.

In: a request as plain data. Out: the status, time and peak memory of a child, read with its result file as a success
or a failure of a kind. Nothing that was started outlives the coordinator.
"""
