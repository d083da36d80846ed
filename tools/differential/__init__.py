"""Parts of check.py: a project that is edited at random, and two ways to build it that must agree."""
