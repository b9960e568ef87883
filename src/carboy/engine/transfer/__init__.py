"""Use cases of images that leave and come: archives, registries."""
