"""Reports of a run for people and for other programs: JUnit XML, an HTML page, a trace, and the history of runs.

In: `core.report.RunReport` and reports of earlier runs as JSON. Out: text, or files written in one piece.
"""
