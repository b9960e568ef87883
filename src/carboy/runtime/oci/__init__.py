"""Sandboxes made by another runtime (runc, crun, runsc) from an OCI bundle.

Owns the bundle on disk, the programs' command lines, and the translation of their life into the events of
``runtime.sandbox``. The root file system and the host's files are mounted here, by the native sandbox's own code.
"""
