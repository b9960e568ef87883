"""What few containers ask for: checked when they are made, added to their sandbox when they start."""
