"""Images between the store and repositories: what of an image is moved, in which order, and how it is proved on arrival."""
