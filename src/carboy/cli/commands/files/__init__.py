"""The verbs on files: of volumes, in and out of containers, and images made of what a container wrote."""
