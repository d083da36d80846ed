"""The run itself: bring every job to exactly one report, whatever its children do.

In: a session and options. Out: job reports, and delivered outputs. `engine.runner` is the entry point,
`engine.coordinator` the main loop.
"""
