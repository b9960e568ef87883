"""Names between containers: DNS messages (pure), the members' files of networks, and the resolver that a relay serves."""
