"""The store keeps artifacts: import from its modules, `batchexport.store.store` first."""
