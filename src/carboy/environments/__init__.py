"""Python environments: what a folder asks for, resolved to a lock with hashes and installed as layers of an image.

The room refuses to know how images are put together; it hands back layers. Resolving and installing are uv's.
"""
