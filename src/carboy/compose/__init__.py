"""Compose files: from YAML as people write it to the steps that bring a project up and down.

``document`` reads and merges files into one tree with positions; ``parse`` turns the tree into frozen values (``model``);
``plan`` (pure) compares them with what exists and returns ordered steps; ``container`` is what one container of a service
becomes. The only room that reads YAML. It refuses to know how a container is made: that is the engine's.

Source of all rules: the Compose specification, compose-spec.io; where it is silent, what Docker Compose 2 does.
"""
