"""The text side of compose files: YAML, variables, short forms made long, several files merged into one tree.

Everything here is pure but ``files``, which reads them. It refuses to know what a key means beyond its form.
"""
