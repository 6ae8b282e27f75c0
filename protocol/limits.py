"""Every bound the protocol knows, each with its unit and its reason.

A bound is part of validity where it says so: two nodes with different values would disagree on what is an
entry. The others are local and may be tightened by a node's settings.
"""

from typing import Final

# Validity: the same on every node, for ever (SPEC.md 2 and 3).
DEPTH_MAX: Final = 16  # nested arrays and maps in one value: no schema here needs more than 8
ITEMS_MAX: Final = 4096  # in one array or map: bounds what a few bytes that promise a long array can allocate
REFS_MAX: Final = 32  # ids an entry builds on: a record with more open heads is settled in steps
KIND_BYTES_MAX: Final = 24  # a kind is a short ASCII word
BODY_BYTES_MAX: Final = 256 * 1024  # one entry's body; larger things are attachments
ANCHOR: Final = 128  # an entry whose seq + 1 this divides is signed by itself: bounds what a proof of a fork must hold
ROOT_ENTRIES_MAX: Final = 65_536  # entries in a root key's log: they are held even where they are void
HEADER_BYTES_MAX: Final = 2048  # 32 refs and every other field at its largest: about 1,330
TIME_MS_MAX: Final = 2**53 - 1  # whole numbers every language and JSON reader keeps exactly
SEQ_MAX: Final = 2**53 - 1  # the same reason

# Charters and cards: small files that people pass by hand.
AGENCIES_MAX: Final = 64  # founding agencies in one charter
NAME_BYTES_MAX: Final = 200  # names and titles, UTF-8
ROLES_MAX: Final = 8  # roles in one certificate
CHARTER_BYTES_MAX: Final = 64 * 1024
CARD_BYTES_MAX: Final = 4 * 1024
ADDRESSES_MAX: Final = 16  # addresses one node publishes
ADDRESS_BYTES_MAX: Final = 256
INVITATION_BYTES_MAX: Final = 4 * 1024 * 1024  # about 14,000 certificates: fits a mail or the smallest stick
INVITATION_ADDRESSES_MAX: Final = 256  # addresses to try first

# Acts: part of validity too, because nodes that read an act differently would differ on who may write.
CODE_CHARS_MAX: Final = 24  # short names of agencies and units, types of records, steps
REASON_BYTES_MAX: Final = 2000  # why a key was revoked
REGIONS_MAX: Final = 64  # regions of one unit

# Checkpoints and proofs: part of what makes one.
CHECKPOINT_HEADS_MAX: Final = 3600  # heads in one checkpoint entry: 72 bytes each, so that they fit in a body
CONSULTED_MAX: Final = 500  # records in one consultation: a page of results
PROOF_BYTES_MAX: Final = 16 * 1024 * 1024  # a proof's file: a record with a few hundred steps, its files left out

PROOF_ITEMS_MAX: Final = 4096  # acts, entries, and paths of one attestation, in one proof: as in any array
PROOF_ATTESTATIONS_MAX: Final = 256  # two for each agency, and room
PROOF_HASHES_MAX: Final = 64  # in one path: trees of 2^64 leaves

# Frames and messages: what one peer may make another hold before anything is checked.
FRAME_ENTRIES_MAX: Final = 4096  # entries in one frame: bounds the work of one transaction
FRAME_RUNS_MAX: Final = 1024  # logs in one frame: each run costs one signature check
FRAME_BYTES_TARGET: Final = 512 * 1024  # a sender closes a frame at this size, before compression
FRAME_BYTES_MAX: Final = 1024 * 1024  # a receiver refuses more, before decompression and after
MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX + 4096  # one message on the link
CHUNK_BYTES_MAX: Final = 256 * 1024  # one piece of an attached file: one message, one file on disk
FILE_BYTES_MAX: Final = 64 * 1024 * 1024  # an attached file: 256 chunks
RANGES_MAX: Final = 1024  # ranges in one reconciliation message
HEADS_MAX: Final = 4096  # heads in one message
WANTS_MAX: Final = 1024  # logs asked for in one message
