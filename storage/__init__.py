"""The store: what was acknowledged, on disk. Synchronous; the only importer of lmdb; knows nothing of the server."""
