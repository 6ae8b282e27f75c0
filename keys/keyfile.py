"""Key files: a seed encrypted with a passphrase, and beside it, in the clear, whose it is.

    "hamkor key 1" LF   one JSON object, keys sorted, one line LF   SHA-256 of all before it, hex LF

    {"agency", "kdf": {"mem", "name": "argon2id13", "ops", "salt"}, "name", "public", "rank", "sealed", "unit"}

`sealed` is nonce(24) and XSalsa20-Poly1305 of seed(32) and SHA-256(the other fields), under a key that Argon2id
makes from the passphrase: so the clear fields cannot be exchanged either. The checksum tells damage from a
wrong passphrase before any time is spent on Argon2id.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from keys.entropy import Entropy, system_entropy
from keys.errors import KeyFileError, MarkError
from keys.files import create_file
from keys.mark import Mark, mark_path
from keys.signing import SEED_BYTES, PublicKey, SigningKey

MAGIC: Final = b"hamkor key 1\n"
FILE_BYTES_MAX: Final = 64 * 1024
TEXT_BYTES_MAX: Final = 200  # each of what a key file says of its owner; a card allows no more
OPS_MAX: Final = 20  # a file cannot ask for more work than this,
MEM_BYTES_MAX: Final = 1024 * 1024 * 1024  # nor for more memory


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at the passphrase costs: passes, and bytes of memory."""

    ops: int
    mem_bytes: int


COSTS: Final[Mapping[str, KdfCost]] = {
    "interactive": KdfCost(argon2id.OPSLIMIT_INTERACTIVE, argon2id.MEMLIMIT_INTERACTIVE),  # 64 MiB, about 0.1 s
    "moderate": KdfCost(argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE),  # 256 MiB, about 0.5 s
    "sensitive": KdfCost(argon2id.OPSLIMIT_SENSITIVE, argon2id.MEMLIMIT_SENSITIVE),  # 1 GiB, about 3 s
}


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose key a file holds; what its card says. Readable without the passphrase."""

    public: PublicKey
    rank: str  # agency, admin, node or officer
    name: str
    agency: str
    unit: str


def create_key_file(
    path: Path, key: SigningKey, passphrase: bytes, owner: KeyOwner, *, cost: KdfCost = COSTS["moderate"],
    entropy: Entropy = system_entropy,
) -> None:  # fmt: skip
    """Write a new key file, mode 0600, and its mark beside it. Raises KeyFileError when `path` exists."""
    if path.exists():
        raise KeyFileError(f"{path} exists already; a key file is never overwritten")
    raw = encode_key_file(key, passphrase, owner, cost, entropy)
    try:
        Mark.create(mark_path(path), key.public)
    except MarkError as error:
        raise KeyFileError(f"{path} cannot be made: {error}") from None
    try:
        create_file(path, raw)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already; a key file is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None


def encode_key_file(key: SigningKey, passphrase: bytes, owner: KeyOwner, cost: KdfCost, entropy: Entropy) -> bytes:
    """The bytes of a key file."""
    salt = entropy(argon2id.SALTBYTES)
    clear = {
        "agency": owner.agency,
        "kdf": {"mem": cost.mem_bytes, "name": "argon2id13", "ops": cost.ops, "salt": salt.hex()},
        "name": owner.name,
        "public": key.public.hex(),
        "rank": owner.rank,
        "unit": owner.unit,
    }
    box = SecretBox(argon2id.kdf(SecretBox.KEY_SIZE, passphrase, salt, cost.ops, cost.mem_bytes))
    sealed = box.encrypt(key.seed + _digest(clear), entropy(SecretBox.NONCE_SIZE))
    raw = MAGIC + _json(clear | {"sealed": sealed.hex()}) + b"\n"
    return raw + sha256(raw).hexdigest().encode() + b"\n"


def load_key_file(path: Path, passphrase: bytes) -> tuple[SigningKey, KeyOwner]:
    """The key in a file, and whose it is. Raises KeyFileError: damaged, wrong passphrase, open to others."""
    fields, owner = _read(path)
    cost, salt = _cost(fields, path)
    sealed = _hex(fields.get("sealed"), path)
    box = SecretBox(argon2id.kdf(SecretBox.KEY_SIZE, passphrase, salt, cost.ops, cost.mem_bytes))
    try:
        opened = box.decrypt(sealed)
    except (CryptoError, ValueError):
        raise KeyFileError(f"wrong passphrase for {path} (key of {owner.name}); try again") from None
    clear = {name: value for name, value in fields.items() if name != "sealed"}
    if len(opened) != SEED_BYTES + 32 or opened[SEED_BYTES:] != _digest(clear):
        raise KeyFileError(f"{path} was altered: what it says of its owner is not what was sealed")
    key = SigningKey.from_seed(opened[:SEED_BYTES])
    if key.public != owner.public:
        raise KeyFileError(f"{path} was altered: it holds another key than it says")
    return key, owner


def read_owner(path: Path) -> KeyOwner:
    """Whose key a file holds, without the passphrase. Raises KeyFileError."""
    return _read(path)[1]


def read_cost(path: Path) -> KdfCost:
    """What one guess at a file's passphrase costs. Raises KeyFileError."""
    return _cost(_read(path)[0], path)[0]


def _read(path: Path) -> tuple[dict[str, object], KeyOwner]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise KeyFileError(f"there is no key file {path}") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"{path} can be read by others; run: chmod 600 {path}")
    if len(raw) > FILE_BYTES_MAX or not raw.startswith(MAGIC):
        raise KeyFileError(f"{path} is not a hamkor key file")
    content, checksum = raw[:-65], raw[-65:]
    if sha256(content).hexdigest().encode() + b"\n" != checksum:
        raise KeyFileError(f"{path} is damaged (its checksum does not match); the key must be replaced by a new one")
    try:
        fields = json.loads(content[len(MAGIC) :])
    except (ValueError, RecursionError):  # a thousand brackets are deeper than Python's reader goes
        raise KeyFileError(f"{path} is damaged: it holds no JSON") from None
    if not isinstance(fields, dict):
        raise KeyFileError(f"{path} is damaged: it holds no JSON object")
    texts = [fields.get(name) for name in ("rank", "name", "agency", "unit")]
    public = _hex(fields.get("public"), path)
    if len(public) != 32 or not all(map(_is_text, texts)):
        raise KeyFileError(f"{path} does not say whose key it is")
    return fields, KeyOwner(PublicKey(public), *[str(text) for text in texts])


def _cost(fields: Mapping[str, object], path: Path) -> tuple[KdfCost, bytes]:
    kdf = fields.get("kdf")
    if not isinstance(kdf, dict) or kdf.get("name") != "argon2id13":
        raise KeyFileError(f"{path} names a key derivation that this program does not know")
    ops, mem, salt = kdf.get("ops"), kdf.get("mem"), _hex(kdf.get("salt"), path)
    if type(ops) is not int or type(mem) is not int or max(abs(ops), abs(mem)) >= 1 << 64:
        raise KeyFileError(f"{path} names a key derivation that this program does not know")
    if not argon2id.OPSLIMIT_MIN <= ops <= OPS_MAX:
        raise KeyFileError(f"{path} asks for {ops} passes of Argon2id; 1 to {OPS_MAX} are accepted")
    if not argon2id.MEMLIMIT_MIN <= mem <= MEM_BYTES_MAX:
        raise KeyFileError(f"{path} asks for {mem} bytes of memory; at most {MEM_BYTES_MAX} are accepted")
    if len(salt) != argon2id.SALTBYTES:
        raise KeyFileError(f"{path} is damaged: its salt has the wrong size")
    return KdfCost(ops, mem), salt


def _is_text(value: object) -> bool:
    """Whether it can be shown: no half of a surrogate pair, which JSON can spell, and not a page long."""
    try:
        return isinstance(value, str) and len(value.encode()) <= TEXT_BYTES_MAX
    except UnicodeEncodeError:
        return False


def _hex(value: object, path: Path) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raise KeyFileError(f"{path} is damaged: a field is not hexadecimal") from None


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _digest(fields: Mapping[str, object]) -> bytes:
    return sha256(_json(fields)).digest()
