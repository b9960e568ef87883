"""The Dockerfile language as values: pure, no disk, no network, nothing but ``errors`` and the standard library below it.

``parser`` makes a ``Dockerfile`` of text, ``words`` expands variables, ``scope`` says which are in effect,
``ignore`` reads .dockerignore files, and ``checks`` are the build checks. It refuses to know what an instruction does to files
or images: that is what ``build.dockerfile`` plans with it. Source of every rule: BuildKit's frontend 1.26.
"""
