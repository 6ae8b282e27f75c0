"""Does it hold when the world is bad? The same engine and ledger in a simulated world, and the demonstration.

Imports `node.engine` and the floors below. Begin with `world.py`; `demo.py` is the one that starts real nodes.
"""
