"""Control groups: what this machine has (``hierarchy``), what limits become (``plan``, pure), and running groups (``live``).

``carboy.runtime.native.cgroup`` makes and removes the group of a container as planned here. This room owns the difference
between v1 and v2, and what a container without a group gets instead; it refuses to own when a container is paused or read.

A device controller is not used. In a user namespace nobody can make a device node, every mount that holds foreign files is
``nodev``, and a device that is given (``--device``) is guarded by the mode of its node; what the controller would add on v1
costs a start half a millisecond (nine rules, one write each), and v2 has no files for it.
"""
