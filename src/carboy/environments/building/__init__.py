"""Builds wheels of sources: what they are built with is an environment of its own, chosen and locked as any other.

The code of a package runs in a sandbox that has no network, no cache and no file of the host, but its source.
"""
