"""The models of features.toml: for each capability one that would show its absence.

`models` holds forms of models and of state, `calls` forms of inputs, `operators` rules and custom operators. They are
small: an entry exports in well under a second.
"""
