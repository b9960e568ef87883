"""A build's cache outside of the store: what is asked for (``arguments``), the document (``document``), folders (``local``).

A registry would be one more module beside ``local``: the document is a manifest, and what it names are blobs.
"""
