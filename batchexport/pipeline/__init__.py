"""The export pipeline: the only package that imports torch, and only inside child processes.

It takes a task description and a folder, and leaves files and a JSON result in the folder.
It knows nothing of the store, the manifest or the command line.
"""
