"""What a folder's files say of its environment: pure, and each answer names the file that gave it.

Every file is read as the tool that writes it means it. A lock becomes the project's own requirements, the lock's versions as
constraints and its hashes as the only ones that may be installed; uv decides for the image's Python what of it is needed. So a
marker, an extra or a platform means the same as in the tool, without an evaluator of ours.
"""
