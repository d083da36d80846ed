"""Parts of transformers_types.py: every type of transformers, named and nothing more."""
