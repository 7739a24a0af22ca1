"""What the platform promises of every catalogue, shown on somebody's own data.

What belongs here: one module a promise, each from a rehearsal and some days to a `Proof`.
What does not: reading data (`ml_assets/check.py`), names and types that are wrong whatever the data (`catalog`).
"""
