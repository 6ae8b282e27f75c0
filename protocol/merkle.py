"""RFC 9162 Merkle trees, kept as a compact range: the roots of the perfect subtrees, largest first (SPEC.md 7).

An empty tree has the root SHA-256(""). Leaves are hashes already (an entry's id is its leaf). Appending costs
one hash per leaf, amortised; a tree of n leaves keeps at most log2(n) + 1 hashes.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 left right)."""
    return sha256(b"\x01" + left + right).digest()


def append(peaks: Sequence[bytes], size: int, leaves: Iterable[bytes]) -> list[bytes]:
    """The compact range after `leaves` were added to a tree of `size` leaves whose range is `peaks`."""
    stack = list(peaks)
    hashing = sha256
    for leaf in leaves:
        level = size
        node = leaf
        while level & 1:
            node = hashing(b"\x01" + stack.pop() + node).digest()
            level >>= 1
        stack.append(node)
        size += 1
    return stack


def root(peaks: Sequence[bytes]) -> bytes:
    """The tree's root hash."""
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = node_hash(peak, node)
    return node


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over `leaves` in order."""
    return root(append((), 0, leaves))
