"""Content, names, and what is derived from content: durable, checked, and cleaned up only when nothing needs it.

The room owns ``store/``, ``layers/``, ``ingest/``, ``trash/`` and ``state.db`` of a home (see ``store.Store``). It refuses to
know what a layer is made of: trees are handed to it finished.
"""
