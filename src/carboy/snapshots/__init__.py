"""The writable side of a container: its folder, its lock, the layers that it claims, and the overlay to mount.

The room prepares and removes; the mounting itself is done inside the sandbox's own mount namespace, by its stage
program.
"""
