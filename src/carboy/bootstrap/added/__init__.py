"""Debian packages above a base: those that only bring files as layers of their own, all others as one layer that dpkg makes.

dpkg's database stays right: a package's list of files travels in its layer, and the status file, which names all packages, is a
small layer above them (docs/adr/0009). The room knows nothing of what the packages are for.
"""
