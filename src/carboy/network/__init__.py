"""How a container's network namespace reaches the world: published ports, private networks, names between containers.

The room owns bridges, veth pairs, addresses, the packet filter's table ``carboy``, and the small process that carries a
container's published ports and its resolver. It works on a descriptor of a network namespace that somebody else made and
keeps; it refuses to own namespaces, containers and images.
"""
