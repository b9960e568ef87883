"""Builds that are graphs, as values: what is to be made (``ops``), what else was asked for (``options``), what a step
depends on (``keys``).

Pure. A front end writes a graph, the Dockerfile's to begin with; ``carboy.build.solver`` carries it out and decides nothing
of it.
"""
