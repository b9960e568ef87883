"""Layers: tar streams in and out, directory trees in and out, and the rules that keep a hostile one inside.

The room owns the only extractor (``extract``), the canonical writer (``tarwrite``), whiteouts, compression, and bringing both
together with the store (``apply``). It refuses to know what a layer is for.
"""
