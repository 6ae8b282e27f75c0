"""RFC 9162 Merkle trees: roots kept as a compact range, inclusion and consistency proofs (SPEC.md 7).

A compact range is the roots of the perfect subtrees that make up a tree, largest first. An empty tree has the root
SHA-256(""). Leaves are hashes already (an entry's id is its leaf). Appending costs one hash per leaf, amortised; a
tree of n leaves keeps at most log2(n) + 1 hashes.

    peaks = append(peaks, size, leaves); root(peaks)              # grow
    path = inclusion_proof(leaves, index)                         # O(n) hashes
    root, paths = inclusion_proofs(leaves, indices)               # one pass, leaves as they come
    is_included(root, size, index, leaf, path)                    # O(log n)
    proof = consistency_proof(leaves, first)
    is_consistent(first, size, first_root, root, proof)

A subtree [start, end) of a tree is one that appears in a larger tree or is its right edge: start is a multiple of the
smallest power of two that is not below end - start. Proofs of whole trees are those of the subtree [0, size).
"""

from bisect import bisect_left
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


def log_leaf(key: bytes, size: int, log_root: bytes) -> bytes:
    """The leaf of a log in the tree of the ledger root: SHA-256(00 key u64-size log-root)."""
    return sha256(b"\x00" + key + size.to_bytes(8, "big") + log_root).digest()


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over `leaves` in order."""
    return root(append((), 0, leaves))


# -- proofs: making -------------------------------------------------------------------------------


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes beside the way from leaf `index` to the root, lowest first. Raises IndexError. O(n) hashes."""
    return inclusion_proofs(leaves, (index,))[1][index]


def inclusion_proofs(leaves: Iterable[bytes], indices: Iterable[int]) -> tuple[bytes, dict[int, list[bytes]]]:
    """The root, and for each of `indices` its inclusion proof. Raises IndexError when there is no such leaf.

    Cost: one hash a leaf, in one pass; memory O(log n), and that of the proofs.
    """
    wanted = sorted(set(indices))
    paths: dict[int, list[bytes]] = {index: [] for index in wanted}
    stack: list[tuple[bytes, int]] = []  # the peaks so far, and where each begins

    def join(left: bytes, start: int, right: bytes, split: int, stop: int) -> bytes:
        for index in wanted[bisect_left(wanted, start) : bisect_left(wanted, stop)]:
            paths[index].append(right if index < split else left)
        return node_hash(left, right)

    size = 0
    for leaf in leaves:
        node, start, level = leaf, size, size
        while level & 1:
            left, begins = stack.pop()
            node, start, level = join(left, begins, node, start, size + 1), begins, level >> 1
        stack.append((node, start))
        size += 1
    if wanted and not 0 <= wanted[0] <= wanted[-1] < size:
        raise IndexError(f"leaves {wanted[0]} to {wanted[-1]} of {size}")
    while len(stack) > 1:
        right, split = stack.pop()
        left, start = stack.pop()
        stack.append((join(left, start, right, split, size), start))
    return stack[0][0] if stack else EMPTY_ROOT, paths


def consistency_proof(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """What shows that the tree over the first `first` leaves is the start of the tree over all.

    first: 1 to len(leaves). Raises IndexError. O(n) hashes.
    """
    if not 1 <= first <= len(leaves):
        raise IndexError(f"a tree of {first} leaves is not the start of one of {len(leaves)}")
    start, stop, whole = 0, len(leaves), True
    proof: list[bytes] = []
    while first != stop:
        split = start + _half(stop - start)
        if first <= split:
            proof.append(tree_root(leaves[split:stop]))
            stop = split
        else:
            proof.append(tree_root(leaves[start:split]))
            start, whole = split, False
    if not whole:
        proof.append(tree_root(leaves[start:stop]))
    return proof[::-1]


def _half(size: int) -> int:
    """The greatest power of two below `size`, which is 2 or more."""
    return int(1 << (size - 1).bit_length() - 1)


# -- proofs: checking -----------------------------------------------------------------------------


def is_included(tree: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` shows that leaf `index` of the tree of `size` leaves and root `tree` is `leaf`.

    Source: RFC 9162 2.1.3.2. No leaf is in an empty tree. O(log size).
    """
    return is_included_in_subtree(tree, 0, size, index, leaf, path)


def is_included_in_subtree(
    subtree: bytes, start: int, end: int, index: int, leaf: bytes, path: Sequence[bytes]
) -> bool:
    """The same for the subtree [start, end), whose root is `subtree`."""
    return len(leaf) == 32 and _is_subtree(start, end) and root_from(end - start, index - start, leaf, path) == subtree


def root_from(size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """The root to which `path` leads from leaf `index` of a tree of `size` leaves; None: it fits no such tree.

    Source: RFC 9162 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    node, at, last = leaf, index, size - 1
    for beside in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            node = node_hash(beside, node)
            while not at & 1:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, beside)
        at, last = at >> 1, last >> 1
    return node if last == 0 else None


def is_consistent(first: int, size: int, first_root: bytes, tree: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that a tree of `first` leaves and root `first_root` is the start of a greater one.

    Source: RFC 9162 2.1.4.2. An empty tree is the start of every one, which shows nothing: `first` 0 is refused.
    """
    return first > 0 and is_consistent_subtree(0, first, size, first_root, tree, proof)


def is_consistent_subtree(start: int, end: int, size: int, subtree: bytes, tree: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `subtree` is the root of the leaves [start, end) of the tree of `size` leaves and root `tree`.

    Of an empty subtree the root is EMPTY_ROOT and the proof is empty; nothing is said of the tree.
    Source: the merkle tree certificates draft of the IETF's PLANTS group, 4.4.
    """
    if start == end <= size:
        return not proof and subtree == EMPTY_ROOT
    if not (_is_subtree(start, end) and end <= size):
        return False
    left, at, last = start, end - 1, size - 1
    if at == last:
        while left != at:
            left, at, last = left >> 1, at >> 1, last >> 1
    else:
        while left != at and at & 1:
            left, at, last = left >> 1, at >> 1, last >> 1
    rest = list(proof)
    if left != at and not rest:
        return False
    small = great = subtree if left == at else rest.pop(0)
    for beside in rest:
        if last == 0:
            return False
        if at & 1 or at == last:
            if left < at:
                small = node_hash(beside, small)
            great = node_hash(beside, great)
            while not at & 1:
                left, at, last = left >> 1, at >> 1, last >> 1
        else:
            great = node_hash(great, beside)
        left, at, last = left >> 1, at >> 1, last >> 1
    return last == 0 and small == subtree and great == tree


def _is_subtree(start: int, end: int) -> bool:
    """Whether the leaves [start, end) make a subtree. 64 bits bound the loops over what a file says."""
    return 0 <= start < end < 1 << 64 and start % (1 << (end - start - 1).bit_length()) == 0
