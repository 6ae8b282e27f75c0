"""What is said? Every byte that leaves a machine: encoding, entries, charter, frames, messages. SPEC.md is its law.

Imports `keys`; pure: no clock, no randomness, no sockets, no files. Begin with `entry.py`, then `frame.py` and
`message.py`; `codec.py` is beneath them all, and `limits.py` holds every bound.
"""
