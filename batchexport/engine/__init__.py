"""The run itself: brings every job to exactly one report, whatever its children do.

In: a session and options. Out: job reports, and outputs delivered. `engine.runner` is its face, `engine.coordinator`
its loop.
"""
