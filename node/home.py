"""A node's home: the one folder that holds everything it has.

hamkor.toml     settings, commented, edited by hand
charter         the charter file, as signed
node.key        the node's key, encrypted; node.key.mark: its high-water mark; node.card: its public card
store/          the ledger (LMDB)
search.db       the search projection; may be deleted, it is built again
searches.json   saved searches; heard.json: when other nodes were last heard
as-of/          what nodes held at checkpoints that were asked for; may be deleted
consultations.journal   who was shown marked records, until it is in the node's log
files/          attached files in chunks named by their hashes
control.sock    where the running daemon listens, mode 0600
hamkor.log      what the daemon did, one JSON object a line
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import base58

from keys.errors import HomeError
from keys.mark import mark_path
from keys.signing import PublicKey
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.limits import ADDRESS_BYTES_MAX, CHARTER_BYTES_MAX

SETTINGS: Final = "hamkor.toml"
_MIB: Final = 1024 * 1024

_TEMPLATE: Final = """\
# hamkor: settings of this node. Restart the node after a change.

# Addresses to listen on. 0.0.0.0 is every interface; port 0 lets the system choose.
listen = {listen}

# Addresses that other nodes should use, where they differ from the above (behind a router, say).
announce = {announce}

# Nodes to connect to, beside those whose addresses are in the ledger.
peers = {peers}

# The store may grow to this many MiB; 0: as long as the disk has room.
store_mib_max = {store_mib_max}

# Files attached to records are fetched by themselves up to this many KiB each; 0: only when asked for.
fetch_kib_max = {fetch_kib_max}

# How often to compare notes with a random peer, in seconds.
sync_interval_s = {sync_interval_s}

# How often, at most, this node attests in its log what it holds, in seconds; 0: never.
checkpoint_s = {checkpoint_s}

# debug, info, warning or error
log_level = "{log_level}"
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `hamkor.toml` says."""

    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/4090",)
    announce: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    store_mib_max: int = 0
    fetch_kib_max: int = 0
    sync_interval_s: int = 30
    checkpoint_s: int = 300
    log_level: str = "info"

    def store_bytes_max(self) -> int | None:
        """The bound on the store in bytes, or None."""
        return self.store_mib_max * _MIB if self.store_mib_max else None


@dataclass(frozen=True, slots=True)
class Past:
    """What a home is that shows a moment of the past (`hamkor as-of`): of which home, and when it was."""

    of: Path
    time_ms: int


@dataclass(frozen=True, slots=True)
class Home:
    """The paths in a home, and what its settings say."""

    path: Path
    settings: Settings = field(default_factory=Settings)
    past: Past | None = None  # where it is a copy of a moment, for reading only

    @property
    def charter_path(self) -> Path:
        """The charter file."""
        return self.path / "charter"

    @property
    def key_path(self) -> Path:
        """The node's key file."""
        return self.path / "node.key"

    @property
    def card_path(self) -> Path:
        """The node's card."""
        return self.path / "node.card"

    @property
    def mark_path(self) -> Path:
        """The high-water mark of the node's key."""
        return mark_path(self.key_path)

    @property
    def store_path(self) -> Path:
        """The ledger's store."""
        return self.path / "store"

    @property
    def search_path(self) -> Path:
        """The search projection."""
        return self.path / "search.db"

    @property
    def own_path(self) -> Path:
        """The folder of the home itself, also where this is a moment of it."""
        return self.past.of if self.past is not None else self.path

    @property
    def searches_path(self) -> Path:
        """The saved searches."""
        return self.own_path / "searches.json"

    @property
    def pasts_path(self) -> Path:
        """Copies of moments of the past, each a folder named by its checkpoint; may be deleted."""
        return self.path / "as-of"

    @property
    def heard_path(self) -> Path:
        """When other nodes were last heard."""
        return self.path / "heard.json"

    @property
    def journal_path(self) -> Path:
        """Who was shown marked records and is not in the node's log yet."""
        return self.path / "consultations.journal"

    @property
    def files_path(self) -> Path:
        """Attached files, in chunks."""
        return self.path / "files"

    @property
    def socket_path(self) -> Path:
        """The daemon's control socket."""
        return self.path / "control.sock"

    @property
    def log_path(self) -> Path:
        """The daemon's log."""
        return self.path / "hamkor.log"

    def charter(self) -> Charter:
        """The verified charter. Raises HomeError where there is none; FormatError or AdmissionError on a bad one."""
        return verify_charter(decode_charter_file(self.charter_file()))

    def charter_file(self) -> bytes:
        """The charter file's bytes."""
        try:
            return read_bounded(self.charter_path, CHARTER_BYTES_MAX)
        except FileNotFoundError:
            raise HomeError(
                f"{self.path} has no charter; create the home with: hamkor init --charter FILE --home {self.path}"
            ) from None


def peer_id(key: PublicKey) -> str:
    """The libp2p peer id of a node's key, as text: what stands after /p2p/ in its addresses."""
    return base58.b58encode(b"\x00\x24\x08\x01\x12\x20" + key).decode()


def dialable(settings: Settings, key: PublicKey) -> tuple[str, ...]:
    """The addresses that others can dial, as far as the settings tell: no "any" interface, no port 0."""
    named = settings.announce or settings.listen
    useful = [address for address in named if not address.startswith(("/ip4/0.0.0.0/", "/ip6/::/"))]
    return tuple(f"{address}/p2p/{peer_id(key)}" for address in useful if not address.endswith("/tcp/0"))


def open_home(path: Path) -> Home:
    """The home at `path`. Raises HomeError when it is none or its settings are wrong."""
    try:
        text = read_bounded(path / SETTINGS, _MIB).decode()
    except FileNotFoundError:
        raise HomeError(f"{path} is no hamkor home: make one with hamkor init, or give --home") from None
    except UnicodeDecodeError:
        raise HomeError(f"{path / SETTINGS} is not UTF-8 text") from None
    except OSError as error:
        raise HomeError(f"{path / SETTINGS} cannot be read: {error.strerror}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HomeError(f"{path / SETTINGS} is not valid TOML: {error}") from None
    return Home(path, _settings(values, path / SETTINGS))


def create_home(path: Path, charter_file: bytes, settings: Settings) -> Home:
    """Make a new home, mode 0700. Raises HomeError when there is one already or the folder cannot be made."""
    home = Home(path, settings)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (path / SETTINGS).exists():
            raise HomeError(f"{path} is a hamkor home already; nothing was changed")
        home.charter_path.write_bytes(charter_file)
        write_settings(home)
    except OSError as error:
        raise HomeError(f"{path} cannot be made a home: {error.strerror}") from None
    return home


def write_settings(home: Home) -> None:
    """Write `home.settings` with the comments that explain them; replaces the file in one step."""
    values = home.settings
    text = _TEMPLATE.format(
        listen=_toml(values.listen), announce=_toml(values.announce), peers=_toml(values.peers),
        store_mib_max=values.store_mib_max, fetch_kib_max=values.fetch_kib_max, sync_interval_s=values.sync_interval_s,
        checkpoint_s=values.checkpoint_s, log_level=values.log_level,
    )  # fmt: skip
    new = home.path / (SETTINGS + ".new")
    new.write_text(text)
    new.replace(home.path / SETTINGS)


def read_bounded(path: Path, size_max: int) -> bytes:
    """The file's bytes. Raises OSError, and HomeError when it is larger than `size_max`."""
    with path.open("rb") as file:
        raw = file.read(size_max + 1)
    if len(raw) > size_max:
        raise HomeError(f"{path} is larger than {size_max} bytes; it is not what it should be")
    return raw


def _toml(values: Sequence[str]) -> str:
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    return "[" + ", ".join(quoted) + "]"


def _settings(values: Mapping[str, object], path: Path) -> Settings:
    known = Settings.__dataclass_fields__
    for name in values:
        if name not in known:
            raise HomeError(f"{path}: unknown setting {name!r}; known are {', '.join(sorted(known))}")
    default = Settings()
    return Settings(
        listen=_texts(values, "listen", default.listen, path),
        announce=_texts(values, "announce", default.announce, path),
        peers=_texts(values, "peers", default.peers, path),
        store_mib_max=_number(values, "store_mib_max", default.store_mib_max, (0, 1 << 24), path),
        fetch_kib_max=_number(values, "fetch_kib_max", default.fetch_kib_max, (0, 64 * 1024), path),
        sync_interval_s=_number(values, "sync_interval_s", default.sync_interval_s, (1, 86_400), path),
        checkpoint_s=_number(values, "checkpoint_s", default.checkpoint_s, (0, 86_400), path),
        log_level=_word(values, "log_level", default.log_level, ("debug", "info", "warning", "error"), path),
    )


def _texts(values: Mapping[str, object], name: str, default: tuple[str, ...], path: Path) -> tuple[str, ...]:
    found = values.get(name, default)
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, str) for item in found):
        raise HomeError(f'{path}: {name} must be a list of addresses, such as ["/ip4/0.0.0.0/tcp/4090"]')
    for item in found:
        if not item.startswith("/") or len(item.encode()) > ADDRESS_BYTES_MAX:
            raise HomeError(f"{path}: {name} holds {item[:80]!r}; an address looks like /ip4/192.0.2.7/tcp/4090")
    return tuple(found)


def _number(values: Mapping[str, object], name: str, default: int, bounds: tuple[int, int], path: Path) -> int:
    found = values.get(name, default)
    if type(found) is not int or not bounds[0] <= found <= bounds[1]:
        raise HomeError(f"{path}: {name} must be a whole number from {bounds[0]} to {bounds[1]}")
    return found


def _word(values: Mapping[str, object], name: str, default: str, allowed: tuple[str, ...], path: Path) -> str:
    found = values.get(name, default)
    if not isinstance(found, str) or found not in allowed:
        raise HomeError(f"{path}: {name} must be one of {', '.join(allowed)}")
    return found
