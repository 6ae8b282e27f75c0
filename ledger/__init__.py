"""What is kept, and what does it mean? The store, admission, authority, the search projection, the audit.

Imports `protocol` and `keys`. LMDB is touched by `lmdb_store.py` alone, SQLite by `projection.py` and `search.py`; the
rest is pure over the window in `storage.py`. Begin with `store.py` (reading) and `ingest.py` (the one way in).
`audit.py` recomputes everything from the bytes and shares no code with admission.
"""
