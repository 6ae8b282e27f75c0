"""What a node writes about what it holds: checkpoints of its own, and alarms about others' (SPEC.md 7.1, 7.2).

All of it is drafted from what lies in the store and the index, so a restart changes nothing: the last checkpoint and
the alarms that were raised are read from the node's own log.
"""

from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey, SigningKey
from ledger import attest
from ledger.held import log_of, said_at, seqs_of
from ledger.search import Search
from ledger.store import Ledger
from protocol.body import Alarm, encode_alarm, parse_alarm
from protocol.entry import EntryId
from protocol.frame import Draft

ALARM: Final = "alarm"
ALARMS_MAX: Final = 100  # written together


def is_due(ledger: Ledger, me: PublicKey) -> bool:
    """Whether there is something to attest: anything but checkpoints has changed since this node's last one."""
    if not ledger.authority.is_node(me):
        return False
    with ledger.storage.read() as view:
        return attest.is_due(view, me)


def last_ms(ledger: Ledger, me: PublicKey) -> int:
    """When this node's last checkpoint was written, by its own clock; 0: never."""
    with ledger.storage.read() as view:
        mine = attest.latest(view, me)
    return 0 if mine is None else mine.time_ms


def draft_checkpoint(ledger: Ledger, signer: SigningKey) -> list[Draft]:
    """The entries of a checkpoint of what counts now; none where nothing has changed. O(logs)."""
    with ledger.storage.read() as view:
        return [(attest.KIND, body, ()) for body in attest.draft_next(view, signer, ledger.network_id)]


def draft_alarms(ledger: Ledger, search: Search, me: PublicKey) -> list[Draft]:
    """An alarm on each checkpoint of another node that differs and on which this node has raised none."""
    with search.connection() as db:
        sql = "SELECT id, here FROM checkpoints WHERE verdict = 'differs' AND node != ? ORDER BY node, seq"
        found = [(EntryId(known), here) for known, here in db.execute(sql, (me,))]
    if not found or not ledger.authority.may_write(me):
        return []
    raised = _alarms_of(ledger, me)
    due = [Alarm(known, here) for known, here in found if known not in raised][:ALARMS_MAX]
    return [(ALARM, encode_alarm(alarm), (alarm.checkpoint,)) for alarm in due]


def _alarms_of(ledger: Ledger, node: PublicKey) -> set[EntryId]:
    """The checkpoints on which a node has raised an alarm."""
    found = set()
    with ledger.storage.read() as view:
        log = log_of(view, node)
        if log is None:
            return set()
        for seq in seqs_of(view, log, ALARM, 0, log.held):
            try:
                found.add(parse_alarm(said_at(view, log, seq).body or b"").checkpoint)
            except FormatError:
                continue  # it was not written by this program, and says nothing
    return found
