"""The classes that differences fall into, and the table of them that people read.

``classes_of`` says which a difference belongs to; a difference that no class explains has the name of none, and
the search fails by it. What each class is, an example, and what refuses its frames stand in docs/internals/parsers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from differential.readings import NO_TYPE, Reading

TABLE = Path(__file__).resolve().parents[3] / "docs/internals/parsers.md"
PORTS = frozenset({"tp_src", "tp_dst", "tcp_flags"})
ADDRESSES = frozenset({"ip_src", "ip_dst"})
HEADER = frozenset({"proto", "tos", "ttl", "label", "frag"})
DISCOVERY = frozenset({"nd_target", "nd_sll", "nd_tll"})
PACKET = ADDRESSES | HEADER | PORTS | DISCOVERY
IPV4, IPV6, NSH = 0x0800, 0x86DD, 0x894F
MPLS = (0x8847, 0x8848)
ICMP, IGMP, TCP, UDP, ICMP6, SCTP = 1, 2, 6, 17, 58, 132

UNKNOWN = "unknown"

Fields = set[str]


def differing(kernel: Reading, switch: Reading) -> Fields:
    """The fields that the two read otherwise."""
    return {name for name in kernel.keys() | switch.keys() if kernel.get(name) != switch.get(name)}


def classes_of(kernel: Reading, switch: Reading) -> list[str]:
    """The classes of a difference, each of which explains some of its fields; what is left over comes last, as a text of its own."""
    left = differing(kernel, switch)
    found = []
    for name, explains in RULES:
        if not left:
            break
        if explained := explains(left, kernel, switch) & left:
            found.append(name)
            left = left - explained
    return [*found, _unknown(left, kernel, switch)] if left else found


def _unknown(left: Fields, kernel: Reading, switch: Reading) -> str:
    words = ", ".join(f"{name} {kernel.get(name, 0):#x}/{switch.get(name, 0):#x}" for name in sorted(left))
    kind, other = kernel.get("eth_type", 0), switch.get("eth_type", 0)
    return f"{UNKNOWN}: EtherType {kind:#06x}/{other:#06x}, protocol {kernel.get('proto', 0)}: {words}"


def _second_tag(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    return left if "vlan1" in kernel and "vlan1" not in switch else set()


def _llc(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    return left if "eth_type" in left and switch.get("eth_type") == NO_TYPE else set()


def _malformed(kind: int) -> Callable[[Fields, Reading, Reading], Fields]:
    def explains(left: Fields, kernel: Reading, switch: Reading) -> Fields:
        """ovs-vswitchd reads nothing of the packet, the kernel something besides the label of what it found malformed too."""
        alone = kernel.get("eth_type") == kind and not switch.keys() & PACKET
        return left & PACKET if alone and left & PACKET != {"label"} and (kernel.keys() & ADDRESSES or kind == IPV4) else set()

    return explains


def _label(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    """Malformed to both, but the kernel keeps what it has written into its key by then."""
    nothing = kernel.get("eth_type") == IPV6 and not (kernel.keys() | switch.keys()) & (ADDRESSES | PORTS | {"proto"})
    return left & {"label"} if nothing and "label" not in switch else set()


def _later_with_extension(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    return left & (HEADER | PORTS | DISCOVERY) if (kernel.get("frag"), switch.get("frag")) == (1, 2) else set()


def _chain(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    """ovs-vswitchd reads the addresses and gives up in the chain."""
    broken = kernel.get("eth_type") == IPV6 and "proto" in left and not switch.keys() & (HEADER | PORTS)
    return left & (HEADER | PORTS | DISCOVERY) if broken else set()


def _only_fragment(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    only = kernel.get("eth_type") == IPV6 and kernel.get("frag") == 1 and "frag" not in switch
    return left & {"frag"} if only else set()


def _behind_length(kind: int, *protocols: int) -> Callable[[Fields, Reading, Reading], Fields]:
    def explains(left: Fields, kernel: Reading, switch: Reading) -> Fields:
        """The header of the protocol stands behind the length of the packet, where only the kernel looks."""
        behind = (
            kernel.get("eth_type") == kind
            and kernel.get("proto") in protocols
            and not switch.keys() & (PORTS | DISCOVERY)
            and not left & HEADER
        )
        return left & (PORTS | DISCOVERY) if behind else set()

    return explains


def _discovery_of_a_code(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    """With a code there is no target to either, but the kernel's key has there what was in its memory before."""
    coded = kernel.get("proto") == ICMP6 and "eth_type" not in left and "tp_dst" in kernel and not switch.keys() & DISCOVERY
    return left & DISCOVERY if coded else set()


def _discovery(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    same = kernel.get("proto") == ICMP6 and "tp_src" not in left and "eth_type" not in left
    return left & DISCOVERY if same else set()


def _other_control(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    """ovs-vswitchd reads types and codes that the kernel does not: IGMP's, and ICMP's in IPv6 and ICMPv6's in IPv4."""
    kind, protocol = kernel.get("eth_type"), kernel.get("proto")
    other = (kind, protocol) in ((IPV4, IGMP), (IPV6, IGMP), (IPV6, ICMP), (IPV4, ICMP6))
    return left & (PORTS | DISCOVERY) if other and not kernel.keys() & PORTS else set()


def _pieces(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    """The kernel cuts a UDP datagram for ovs-vswitchd, and calls all pieces but the first later ones of UDP, whatever their offset is."""
    later = (kernel.get("frag"), kernel.get("proto")) == (2, UDP)
    return left & {"frag", "proto"} if later and (switch.get("frag") == 1 or switch.get("proto") == 44) else set()


def _mpls(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    return {name for name in left if name.startswith("mpls")} if kernel.get("eth_type") in MPLS else set()


def _nsh(left: Fields, kernel: Reading, switch: Reading) -> Fields:
    return {name for name in left if name.startswith("nsh")} if kernel.get("eth_type") == NSH else set()


RULES: list[tuple[str, Callable[[Fields, Reading, Reading], Fields]]] = [
    ("second tag", _second_tag),
    ("packet in LLC", _llc),
    ("malformed IPv4", _malformed(IPV4)),
    ("label of malformed IPv6", _label),
    ("malformed IPv6", _malformed(IPV6)),
    ("later fragment with an extension", _later_with_extension),
    ("broken chain", _chain),
    ("only fragment", _only_fragment),
    ("IGMP and ICMP of the other family", _other_control),
    ("neighbour discovery with a code", _discovery_of_a_code),
    ("UDP behind IPv4's total length", _behind_length(IPV4, UDP)),
    ("TCP, SCTP or ICMP behind IPv4's total length", _behind_length(IPV4, TCP, SCTP, ICMP)),
    ("UDP or ICMPv6 behind IPv6's payload length", _behind_length(IPV6, UDP, ICMP6)),
    ("TCP or SCTP behind IPv6's payload length", _behind_length(IPV6, TCP, SCTP)),
    ("neighbour discovery's options", _discovery),
    ("pieces of a UDP datagram", _pieces),
    ("labels of MPLS", _mpls),
    ("NSH", _nsh),
]


COMPLETED = "checksum at the sender's place"
"""Both would read the same, had not the kernel written the sender's checksum into the frame after its own look at it."""

NAMES = [*(name for name, _ in RULES), COMPLETED]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table that people read."""

    name: str
    kernel: str
    switch: str
    example: bytes
    flow: str
    judge: str
    harmless: str

    @property
    def refused(self) -> bool:
        return bool(self.flow or self.judge or self.harmless)

    def may_pass(self, guard: str) -> bool:
        """Whether nothing comes of it under this guard; "mac: …" is a reason for that guard alone, "trunk: …" one for trunks."""
        only = self.harmless.partition(":")[0]
        return bool(self.harmless) and (only == guard or only not in ("mac", "trunk"))


def table(text: str | None = None) -> dict[str, Entry]:
    """The classes of docs/internals/parsers.md."""
    found = {}
    for line in (TABLE.read_text(encoding="utf-8") if text is None else text).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 7 and cells[0] in NAMES:
            found[cells[0]] = Entry(*cells[:3], _example(cells[3]), *cells[4:])
    return found


def _example(cell: str) -> bytes:
    """A frame in backquotes; none where words stand."""
    return bytes.fromhex(cell.strip("`")) if cell.startswith("`") else b""
