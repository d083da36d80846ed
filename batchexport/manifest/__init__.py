"""A manifest on its way to jobs: TOML in, resolved jobs out, or every mistake at once.

`manifest.resolve` is its face; it raises ManifestError with file, line, what is wrong and what to write instead.
Nothing in a manifest is evaluated.
"""
