"""Builds that are graphs: values that say what is to be made (``ops``), and what makes them.

``ops`` is what a front end writes, the Dockerfile's to begin with. The rest carries a graph out and decides nothing of it:
``keys`` (pure), ``solver`` (what is cached, what runs beside what), ``copy``, ``run`` and ``image``.
"""
