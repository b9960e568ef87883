"""Registries, from the client's side: where they are, who one is there, and what their API does.

``settings`` says where a registry and its mirrors are, ``logins`` who one is there, ``challenge`` and ``tokens`` what is to be
said for that (pure), ``transport`` how a request reaches its answer, ``client`` the calls of the API, ``repository`` the
repositories that an image is read from and written to. The room moves manifests and blobs; what an image is, it does not know.

Sources: OCI distribution-spec 1.1; the distribution project's token authentication; docker-credential-helpers.
"""
