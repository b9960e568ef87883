"""A Dockerfile to a graph of operations: pure, given who knows about images.

``convert`` is the way in. ``stage`` keeps what a stage is at one place, ``dispatch`` lets an instruction take effect,
``transfer``, ``mounts`` and ``git`` say what COPY, ADD and RUN --mount mean, ``settings`` what an image's configuration holds.
It refuses to read files: the text, the .dockerignore and the contexts come with ``BuildInput``.
"""
