"""COPY and ADD: which files of an origin are meant (``select``), what they become (``modes``, ``owners``), where they go
(``place``).

The rules are BuildKit's, traps 32 to 49 of the language's reference. The room refuses to know of caches and of graphs' order.
"""
