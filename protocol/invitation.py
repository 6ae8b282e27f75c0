"""The invitation: all that a new node needs to find the network and be let in (SPEC.md 8.3).

It holds the charter, a bundle of the logs that certify (and of the nodes' addresses), and addresses to try
first. Nothing in it is secret, and nothing in it is believed: the bundle goes through admission.
"""

from dataclasses import dataclass

from keys.errors import FormatError
from protocol.container import pack_file, unpack_file
from protocol.limits import ADDRESS_BYTES_MAX, INVITATION_ADDRESSES_MAX, INVITATION_BYTES_MAX
from protocol.shape import exactly, mapping, texts


@dataclass(frozen=True, slots=True)
class Invitation:
    """What is in the file."""

    charter_file: bytes
    bundle: bytes
    addresses: tuple[str, ...]


def encode_invitation(invitation: Invitation) -> bytes:
    """The invitation file. Raises FormatError when it is too large or an address breaks a rule."""
    raw = pack_file(
        "invitation",
        {"addresses": invitation.addresses, "bundle": invitation.bundle, "charter": invitation.charter_file},
    )
    decode_invitation(raw)
    return raw


def decode_invitation(raw: bytes) -> Invitation:
    """The invitation in a file. Raises FormatError."""
    fields = mapping(unpack_file(raw, "invitation", size_max=INVITATION_BYTES_MAX), "an invitation")
    exactly(fields, ("addresses", "bundle", "charter"), "an invitation")
    charter, bundle = fields["charter"], fields["bundle"]
    if not isinstance(charter, bytes) or not isinstance(bundle, bytes):
        raise FormatError("the charter and the bundle of an invitation are byte strings")
    addresses = texts(fields, "addresses", most=INVITATION_ADDRESSES_MAX, bytes_max=ADDRESS_BYTES_MAX)
    return Invitation(charter, bundle, addresses)
