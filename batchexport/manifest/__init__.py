"""Turn a manifest into jobs, or report every mistake in it at once.

In: a TOML file. Out: resolved jobs, or ManifestError with file, line, what is wrong and what to write instead.
`manifest.resolve` is its face. Nothing in a manifest is evaluated.
"""
