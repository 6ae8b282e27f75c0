"""A home's store used directly, while no daemon runs: the same requests, the same answers."""

import os
from collections.abc import Mapping

from keys.errors import BusyError, HomeError
from keys.keyfile import read_owner
from ledger.comparison import Comparison
from ledger.lmdb_store import open_lmdb
from ledger.projection import Projection
from ledger.search import Search
from ledger.storage import Storage
from ledger.store import Ledger, load
from node.clock import wall_ms
from node.consulted import Journal, account_name
from node.desk import Desk, Readings
from node.heard import absent_nodes, load_heard
from node.home import Home
from node.submit import commit_bundle, import_answer, read_run, submit_answer
from protocol.codec import Value


class Direct:
    """An open store and its desk. Only one process may have it; `close` gives it back."""

    def __init__(
        self, storage: Storage, ledger: Ledger, projection: Projection, home: Home, journal: Readings | None = None
    ) -> None:  # fmt: skip
        self.ledger = ledger
        self._storage = storage
        self._projection = projection
        self._comparison = Comparison(projection)
        me = read_owner(home.key_path).public if home.key_path.exists() else None
        past = home.past
        self._desk = Desk(
            ledger, projection, me, lambda: absent_nodes(ledger, me, load_heard(home)) if past is None else [],
            journal=journal or Journal(home.journal_path, ledger, me),
            clock=wall_ms if past is None else lambda: past.time_ms,
        )  # fmt: skip

    def answer(self, request: Mapping[str, Value]) -> Value:
        """The answer to one request."""
        request = {**request, "user": account_name(os.getuid())}
        match request.get("op"):
            case "submit":
                result = self.ledger.commit([(read_run(request),)])
                self.ledger.apply(result)
                return submit_answer(result.outcomes[0])
            case "import":
                result = commit_bundle(self.ledger, str(request.get("path")))
                self.ledger.apply(result)
                return import_answer(result.outcomes[0])
            case "peers" | "links":
                raise BusyError("the node is stopped; start it with: hamkor run")
            case "status":
                self._catch_up()
                return {**self._desk.ledger_status(), "running": False, "peers": 0}
            case "log" | "who" | "forks" | "prepare":
                return self._desk.answer(request)
            case _:
                self._catch_up()
                return self._desk.answer(request)

    def _catch_up(self) -> None:
        while self._projection.catch_up(self.ledger):
            continue
        while self._comparison.compare(self.ledger, wall_ms()):
            continue

    def close(self) -> None:
        """Release the store."""
        self._storage.close()


def up_to_date(home: Home, ledger: Ledger) -> Search:
    """The index of a home, for reading beside a daemon, once it has all that `ledger` has; fills it where none runs.

    Two may fill an index at once: whichever is first takes the entries.
    """
    projection = Projection(home.search_path)
    while projection.catch_up(ledger):
        continue
    return projection


def check_network(ledger: Ledger, home: Home) -> None:
    """Raise HomeError when the store of a home is of another network than its charter."""
    if ledger.network_id != home.charter().network_id:
        raise HomeError(f"the store in {home.path} is of another network than its charter; restore the right one")


def open_direct(home: Home, journal: Readings | None = None) -> Direct:
    """Open the store of a home. Raises HomeError when another process has it, or there is none.

    journal: where it is noted who reads marked records, instead of in the home. A moment of the past is only read, by
    several at once.
    """
    readonly = home.past is not None
    storage = open_lmdb(home.store_path, size_bytes_max=home.settings.store_bytes_max(), readonly=readonly)
    try:
        ledger = load(storage)
        check_network(ledger, home)
        return Direct(storage, ledger, Projection(home.search_path), home, journal)
    except BaseException:
        storage.close()
        raise
