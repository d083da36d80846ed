"""Parts of check.py: random models that are built by the product, and judged without it."""
