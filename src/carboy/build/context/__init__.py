"""The folder that a build takes files from: what it holds, told quickly (``scan``), and what a path in it means.

The room reads a person's folder by descriptors and follows no link out of it; it refuses to copy, and to know of layers.
"""
