"""Child processes: start them, watch them, kill them, and classify how each one ended.

In: a request as plain data. Out: exit status, time and peak memory of the child, and from these and its result file a
success or a failure of one kind. No process that was started outlives the coordinator.
"""
