"""The ledger of recorded runs: what ran on what, what came of it, by digest; and how two of them differ.

It keeps records and reads files. What a run is, and how one is done again, is the engine's business.
"""
