"""The auditor: recomputes everything from raw bytes, believes nothing, changes nothing.

It shares no code with admission: it reads entries through `protocol/`, checks signatures through `keys/`, and has
its own small rules for the rest. The checks, in the order in which they are made, and the kind of a fault:

 1. `charter`      the charter in the store is complete, signed by every founder
 2. `network`      and the bundle or store is of the network that the auditor was told
 3. `container`    the bundle is whole: lengths, end mark, checksum; the store has the layout this program reads
 4. `fork`         fork proofs hold: two chains of one log that part at one seq, each up to a signature that holds. A
                   fork is itself a fault: of its author, not of who kept it. Once a cutoff of the key has settled what
                   counts, it is a note
 5. `format`       each row's shape, bounds and canonical form; of a store, that its blocks of rows can be read: one
                   fault for each that cannot, with the entries that are lost (`ledger/audit_damage.py`)
 6. `gap`          each log starts at 0 and leaves nothing out
 7. `link`         each run starts from the id of the entry before it
 8. `hash`         a stored row gives the id it is stored under: header, signature and body are the ones it had
 9. `time`         dates do not go back along a log
10. `signature`    every entry's own signature. An entry that fails here may still be authentic through a later one
                   of its chain; it is reported all the same. Entries after the last signature that holds are proved
                   by nothing: they are reported together, at the first
11. `fork`         again, hidden ones: a source that holds two versions of an entry and no proof. Entries on other
                   branches are set aside and put together (`ledger/audit_branch.py`); the one that a cutoff endorses
                   counts
12. `uncertified`  each author was certified, by a chain of acts that leads to the charter. A log whose author's
                   certificate fell later (its signer's cutoff lies before it, or it is disputed) is a note. Acts of
                   authors who were never certified are not read
13. `checkpoint`, `checkpoint-note`, `held-back`, `parts`, `differs`, `alarm`: what nodes attest is what is here
                   (`ledger/audit_checkpoint.py`)
14. `index`        stores only: every other table says what the rows say (`ledger/audit_index.py`), and the entries on
                   other branches, kept beside their logs, hash and chain as well
15. `since`        what an earlier audit covered, by the checkpoint that it is named by, is still what it was

Who has standing, and where a log is cut, `ledger/audit_authority.py` says, from the acts that are authentic; what
counts of each log and the ledger root follow (SPEC.md 4.4.4). Notes are no faults: bodies that were erased or
withheld (`erased`), bodies that say nothing (`malformed`), entries that are kept and do not count (`void`,
`disputed`, `uncertified`), settled forks (`fork`), what checkpoints say of entries that do not count (`held-back`,
`parts`), clocks of which one was wrong (`clock`), alarms that are right (`alarm`), what was not checked again
(`since`, `resumed`). Several sources are compared by `ledger/audit_compare.py`.

How it is cut: 1 to 11 are made stretch by stretch, on all cores (`ledger/audit_stretch.py`), and put together in order
(`ledger/audit_log.py`); where a stretch is not sound, row by row. The report does not depend on how many cores there
are, nor on interruptions.

Memory: heads and acts, about 1 KB each, checkpoints (`ledger/audit_checkpoint.py`), the stretches under way, and what
lies on other branches, 500 bytes an entry, of a bundle at most 100,000; nothing grows with other entries. Logs of
which not all counts are read a second time, once it is known where they end.
Cost: one signature check an entry, 56 us, and about 7 us beside it, on all cores.
"""

from typing import BinaryIO, Final

from ledger.audit_finding import Report
from ledger.audit_since import find_mark
from ledger.audit_source import BundleSource, StoreSource
from ledger.audit_state import Audit, Audited, Options
from ledger.storage import Storage
from protocol.charter import Charter

AS_USUAL: Final = Options()


def audit_bundle(stream: BinaryIO, charter: Charter, options: Options = AS_USUAL) -> Report:
    """Audit a bundle, as a whole ledger: what it leaves out at the start of a log is a gap.

    stream: a file from its first byte; it is read twice, and again where entries come twice or logs are cut short.
    Raises UsageError when it cannot be read twice, or has no such checkpoint as `since`; OSError when the disk fails.
    """
    return audit_source(BundleSource(stream, charter), charter, options).report


def audit_storage(storage: Storage, charter: Charter, options: Options = AS_USUAL) -> Report:
    """Audit a store and its tables, as one view of it.

    Raises StorageError when it cannot be read at all, UsageError when it has no such checkpoint as `since`.
    """
    with storage.read() as view:
        return audit_source(StoreSource(view, charter), charter, options).report


def audit_source(source: "BundleSource | StoreSource", charter: Charter, options: Options) -> Audited:
    """Audit a source. Where it is not what it was at `since`, that is a fault, and all of it is audited."""
    before = None if options.since is None else find_mark(options.since, charter.network_id, source.marks())
    audit = Audit(charter, options, before)
    source.read(audit)
    found = audit.conclude(source)
    if before is None or audit.as_before():
        return found
    audit = Audit(charter, options, None)
    audit.changed_since(before)
    source.read(audit)
    return audit.conclude(source)
