"""What a build gives beside an image in the store: archives, layouts, files, and what is said of it to programs."""
