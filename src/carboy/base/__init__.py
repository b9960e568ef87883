"""What every other room stands on: files, locks, processes, and where the home is. Knows nothing of containers."""
