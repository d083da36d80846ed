"""Parts of chaos.py: the faults, the project they hit, and an audit of every file that is left."""
