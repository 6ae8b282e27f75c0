"""Who speaks? Key pairs, encrypted key files, signatures, and the mark that keeps a key from signing twice.

Imports nothing of hamkor and, of others, only PyNaCl. Begin with `signing.py`; `errors.py` is the one tree of
errors that every floor above uses.
"""
