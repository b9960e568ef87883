"""The store of one home.

::

    store/oci-layout, index.json, blobs/sha256/<hex>    a plain OCI image layout
    layers/<multi|single>/<diff id>/{tree/,meta.json}   unpacked layers
    ingest/<id>/{lock,tree/}                            trees under way; lock held by the maker
    trash/<id>                                          on their way off the disk
    state.db                                            names and the cache
    run/gate                                            shared: marking as used; exclusive: removing
    run/leases/<owner>.<id>                             locked by work under way
    run/starts/<name>                                   what a start needs of state.db, while it does not change
"""

from __future__ import annotations

import os

from carboy.store.claims import Claims, Lease
from carboy.store.shortcuts import Shortcuts
from carboy.store.trees import LayerStore, recover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.base.home import Home
    from carboy.store.blobs import BlobStore
    from carboy.store.database import CacheStore, RefStore, StillDatabase

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class Store:
    """Blobs, unpacked layers, names and cache of a home. Open it with :meth:`open`."""

    def __init__(self, home: Home, *, kind: str) -> None:
        self.home = home
        self.kind = kind
        self.claims = Claims(home.run)
        self.layers = LayerStore(home, kind, self.claims)
        self.shortcuts = Shortcuts(home)
        self._tables: tuple[RefStore, CacheStore] | None = None

    @classmethod
    def open(cls, home: Home, *, kind: str = "multi") -> Store:
        """Return the store, made when it is new, after removing what interrupted work left behind."""
        if not os.path.exists(f"{home.store}/oci-layout"):
            _create(home)
        recover(home)
        return cls(home, kind=kind)

    @property
    def refs(self) -> RefStore:
        """The names; the database is opened on demand, since most starts do not need it. Raises ``CarboyError``."""
        return self._open_tables()[0]

    @property
    def cache(self) -> CacheStore:
        """The results kept for later; see :attr:`refs`."""
        return self._open_tables()[1]

    def _open_tables(self) -> tuple[RefStore, CacheStore]:
        if self._tables is None:
            from carboy.store.database import CacheStore, RefStore, open_database

            database = open_database(self.home.state_db)
            self._tables = RefStore(database, self.home), CacheStore(database)
        return self._tables

    def hold_still(self) -> StillDatabase:
        """Return a block in which nobody changes names or cache, and which is entered with the stamp of what they say.

        The stamp is None, and nobody is kept out, when somebody is changing them, or has a moment ago.
        """
        from carboy.store.database import StillDatabase

        return StillDatabase(self.cache, self.shortcuts)

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
