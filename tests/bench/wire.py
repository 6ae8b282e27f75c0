"""What the kernel knows of processes on this machine: bytes over TCP, memory, time on the processor."""

import os
import socket
import struct
from pathlib import Path

_DIAG_BY_FAMILY, _DUMP, _NETLINK_SOCK_DIAG, _INFO = 20, 0x301, 4, 2
_HEAD = struct.Struct("=IHHII")  # netlink: length, type, flags, seq, pid
_ESTABLISHED = 1 << 1
_BYTES_ACKED = 120  # in struct tcp_info; bytes_received follows it
_TICKS = os.sysconf("SC_CLK_TCK")


def tcp_bytes(port: int) -> int:
    """Bytes that went over the open connections to a local port, both ways, everything above TCP included."""
    return sum(_tcp(port))


def connections(port: int) -> int:
    """How many connections to a local port are open."""
    return len(_tcp(port))


def _tcp(port: int) -> list[int]:
    """The bytes of each. Source: sock_diag(7). Cost: reads all open IPv4 connections of the machine once."""
    found: list[int] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        asked = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), _ESTABLISHED) + bytes(48)
        netlink.sendall(_HEAD.pack(_HEAD.size + len(asked), _DIAG_BY_FAMILY, _DUMP, 1, 0) + asked)
        more = True
        while more:
            raw = netlink.recv(1 << 20)
            while raw and more:
                size, kind = _HEAD.unpack_from(raw)[:2]
                more = kind == _DIAG_BY_FAMILY
                if more and struct.unpack_from(">H", raw, _HEAD.size + 4)[0] == port:
                    found.append(_counted(raw[_HEAD.size + 72 : size]))
                raw = raw[(size + 3) & ~3 :]
    return found


def _counted(attributes: bytes) -> int:
    while attributes:
        size, kind = struct.unpack_from("=HH", attributes)
        if kind == _INFO:
            return sum(struct.unpack_from("=QQ", attributes, 4 + _BYTES_ACKED))
        attributes = attributes[(size + 3) & ~3 :]
    return 0


def own_memory(pid: int) -> tuple[int, int]:
    """Memory of a process, and of its children, bytes: their share of what is resident (PSS).

    Without the pages of a mapped LMDB store, which are the disk's cache and go when others need the room.
    """
    total, store = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            store = line.endswith(".mdb")
        elif name == "Pss:" and not store:
            total += int(rest.split()[0]) * 1024
    return total, sum(sum(own_memory(child)) for child in _children(pid))


def processor_s(pid: int) -> float:
    """Seconds on the processor that a process and its children have used, those still running included."""
    return _spent(pid) + sum(processor_s(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def folder_bytes(folder: Path) -> int:
    """What a folder's files take on the disk, holes not counted."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
