"""PostgreSQL from Debian's packages: makes the cluster when its folder is empty, then becomes the server."""

import os
import shutil
import subprocess
from pathlib import Path

DATA = Path(os.environ["PGDATA"])
PASSWORD = Path("/run/secrets/db_password")
# Debian keeps the programs of each major version in a folder of its own.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]


def make_cluster() -> None:
    """Make the cluster beside its place, so that one that was half made is never taken for a whole one."""
    new = DATA.with_name(f"{DATA.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    command = [PROGRAMS / "initdb", "--pgdata", new, "--username=postgres", "--pwfile", PASSWORD]
    subprocess.run([*command, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"], check=True)
    with (new / "pg_hba.conf").open("a") as file:
        file.write("host all all all scram-sha-256\n")
    new.rename(DATA)


def main() -> None:
    """Become the server."""
    if not DATA.exists():
        make_cluster()
    addresses = os.environ.get("PGADDRESSES", "*")
    options = ["-c", f"listen_addresses={addresses}", "-c", "unix_socket_directories=/tmp"]
    os.execv(PROGRAMS / "postgres", [str(PROGRAMS / "postgres"), "-D", str(DATA), *options])


if __name__ == "__main__":
    main()
