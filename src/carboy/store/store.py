"""The store of one home.

::

    store/oci-layout, index.json, blobs/sha256/<hex>    a plain OCI image layout
    layers/<multi|single>/<diff id>/{tree/,meta.json}   unpacked layers
    ingest/<id>/{lock,tree/}                            trees under way; lock held by the maker
    trash/<id>                                          on their way off the disk
    state.db                                            names and the cache
    run/gate                                            shared: marking as used; exclusive: removing
    run/leases/<owner>.<id>                             locked by work under way
"""

from __future__ import annotations

import os

from carboy.store.claims import Claims, Lease
from carboy.store.trees import LayerStore, recover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.base.home import Home
    from carboy.store.blobs import BlobStore
    from carboy.store.database import CacheStore, RefStore

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class Store:
    """Blobs, unpacked layers, names and cache of a home. Open it with :meth:`open`."""

    def __init__(self, home: Home, *, kind: str) -> None:
        from carboy.store.database import CacheStore, RefStore, open_database

        self.home = home
        self.kind = kind
        self.claims = Claims(home.run)
        self._database = open_database(home.state_db)
        self.refs: RefStore = RefStore(self._database, home)
        self.cache: CacheStore = CacheStore(self._database)
        self.layers = LayerStore(home, kind, self.claims)

    @classmethod
    def open(cls, home: Home, *, kind: str = "multi") -> Store:
        """Return the store, made when it is new, after removing what interrupted work left behind."""
        if not os.path.exists(f"{home.store}/oci-layout"):
            _create(home)
        recover(home)
        return cls(home, kind=kind)

    @property
    def blobs(self) -> BlobStore:
        """The content; made on demand because a start does not need it."""
        from carboy.store.blobs import BlobStore

        return BlobStore(f"{self.home.store}/blobs/sha256", self.claims)

    def lease(self, owner: str) -> Lease:
        """Return a lease for a block: what it writes or finds present is safe from clean-up until the block ends."""
        return self.claims.lease(owner)


def _create(home: Home) -> None:
    from carboy.base.fs import make_dir, translate_os_errors, write_durable
    from carboy.oci.index import make_index

    with translate_os_errors("make the store"):
        make_dir(f"{home.store}/blobs/sha256")
        write_durable(f"{home.store}/index.json", make_index(()).raw)
        write_durable(f"{home.store}/oci-layout", LAYOUT)
