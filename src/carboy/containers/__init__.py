"""The life of a container: what was asked for, what became of it, its name, its log, and the process that keeps it.

The room owns the files of a container's folder beside its writable layer (which ``snapshots`` owns), the supervisor and
the talk with it. It refuses to own images and the planning of a sandbox: those are the engine's.
"""
