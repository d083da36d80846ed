"""The store: what is published under a key comes back byte for byte, or not at all.

In: files and small JSON, under a kind and a key. Out: checked blobs, records, delivered folders. `store.store` is
its face, `store.results` the typed view of it.
"""
