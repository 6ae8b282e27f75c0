"""The heart of a node as a pure state machine: events in, outputs out; no clock, no randomness, no I/O.

Imports `ledger`, `protocol`, `keys`. Begin with `events.py` (all it can be told and can say), then `engine.py`.
"""
