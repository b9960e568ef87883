"""What is known of an image and goes along with it: what is in it, how it was made, and with which packages."""
