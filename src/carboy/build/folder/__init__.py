"""What of a folder is built beside its packages from indexes: packages that lie in it, and what repo2docker's conventions say."""
