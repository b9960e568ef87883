"""Volumes: folders that outlive containers, their names, who uses them, and their first contents.

The room owns `volumes/` of the home. It refuses to know how a volume is mounted, and what a container is beyond its id.
"""
