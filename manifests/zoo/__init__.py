"""The models of zoo.toml that no library has: `plain`, in plain torch."""
