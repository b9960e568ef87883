"""The files of containers: copies in and out, what was changed, new images of it, the whole root as an archive."""
