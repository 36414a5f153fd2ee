"""The store: what was acknowledged, on disk. Synchronous; the only importer of lmdb; knows nothing of the server.

Its rooms, of which each imports those before it only: `codec` says what the bytes mean, `lmdb_store` opens the file,
`journal` stands in front of it, `dedup` knows which ids were processed, `read` has everything that is read, `write`
everything that changes what is stored or takes it away, `check` verifies it, `migrate` converts older formats.
"""
