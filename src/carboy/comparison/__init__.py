"""What differs between two images, and why: on the level of manifests, of layers, and of files; by package, by setting.

Owns the reading of layers as lists of files, comparing them, and telling a difference's cause from the bytes on both sides.
Everything but ``reading`` is pure. Decides nothing of builds, and writes nothing.
"""
