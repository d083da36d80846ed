"""The command line: parse, call, render, set the exit code.

In: words. Out: text and an exit code. `cli.main` is the command; importing it loads click and next to nothing else.
"""
