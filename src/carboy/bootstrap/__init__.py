"""Base images: from a distribution's signed archive to one deterministic layer.

The room owns what an archive is (its addresses, signatures, indexes and packages), which packages a base needs, and how
they become a configured file system. It refuses to own extraction (``layers``), sandboxes (``runtime``), and what an
image's configuration says (``images``). Nothing of the host but its archive address, proxies and certificates is used,
and none of these reaches the layer.
"""
