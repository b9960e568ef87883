"""A build's cache outside of the store: what is asked for (``arguments``), the document (``document``), what it gives to steps
(``reader``), folders (``local``), and registries (``registry``), where the document is a manifest, and what it names are blobs.
"""
