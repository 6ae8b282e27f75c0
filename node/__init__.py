"""How does it run? The engine (pure), and around it the daemon, the transport, the control socket, the commands.

Imports every floor below. Only `transport.py` and `transport_fixes.py` know libp2p; only `clock.py` reads a clock;
the client side (`cli.py`, `client.py`, `commands/`) imports neither libp2p nor the engine. Begin with
`engine/engine.py`, then `daemon.py`.
"""
