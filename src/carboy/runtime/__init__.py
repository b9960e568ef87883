"""Running a process in a sandbox: what is wanted (``spec``), as OCI runtimes say it (``bundle``), and ``native``.

The room turns a :class:`SandboxSpec` into namespaces, mounts and one process. It refuses to own images, networks and the
life of a container after its process: those are its callers'.
"""
