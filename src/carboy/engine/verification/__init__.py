"""What can be told and proven of an image: its packages, a rebuild of it elsewhere and otherwise, and how two images differ."""
