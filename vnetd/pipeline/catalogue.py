"""The tables, registers and cookies of both pipelines, in the order that a frame meets them.

A network's bridge. A guest's frame goes through all of it; what an uplink, the
patch to the tunnels or the host itself sends begins at LEARN:

    CLASSIFY   0  by port; the last byte of a guest's MAC, so that a flood of forged addresses ends here in few megaflows
    PRIORITY   5  a priority tag (VLAN ID 0) is taken off; where tags hide (below), any tag, for the frame to be parsed again
    PEEKED     6  only there: whether another tag stood behind it, and the tag on again
    GUARD     10  the whole source MAC
    VLAN      12  untagged, or a VLAN that the port is in; from here on the frame has its VLAN's tag
    NESTED    14  what came untagged must not hide a tag all the same
    PACE      15  the port's limit on packets
    POOL      16  the limit that its portgroup's ports share, or else its network's
    POOL_ALL  17  its network's, where the portgroup has one too
    MARK      18  the DSCP that its packets get
    TYPE      20  guard='strict': by EtherType, which address must be the guest's own; asks SOURCE
    SOURCE    21  facts, no verdicts: the addresses that are a port's own
    VERDICT   22  what may pass of IPv4, IPv6, ARP and RARP; the rest drops, by reason
    AMBIGUOUS 25  what ovs-vswitchd reads otherwise than the kernel, which remembers its verdicts, drops
    KIND      30  reserved multicast drops; ARP and neighbour discovery go to NEIGHBOUR
    NEIGHBOUR 31  the port's limit on ARP and neighbour discovery
    LEARN     40  remember behind which port the sender is
    LOOKUP    41  what was learned: (VLAN, MAC) to a port
    DELIVER   42  to the port that was found: its VLAN tag and, for guests, whether it may hear the sender; where none was, asks STATION
    BARE      43  no second tag may stand behind the VLAN's, where that is taken off or the port is strict
    CUSTOMER  44  for a dot1q-tunnel port, the service VLAN's tag off and the frame parsed again: one of its customer VLANs
    TOWARD    45  guard='strict': only what is for the guest's own addresses
    TO_POOL   46  the limit that its portgroup's ports share on what they get, or else its network's
    TO_POOL_ALL 47  its network's, where the portgroup has one too
    OUTPUT    48  out of the port in PORT
    ANSWER    49  a guest asks everybody for an address that is bound: whose MAC it is
    LIMIT     50  nobody is known for it, or it is for many: the port's limit on that
    CAST      51  whether a frame for many holds a packet for many
    FLOOD     52  one copy for each port of the VLAN that may have it, with the VLAN's tag
    STATION   53  a guest of this host that has not spoken yet, by its MAC
    HOST      54  the bridge's own port, where the network lets it be reached
    COPY      55  the copies of FLOOD that must not have a second tag
    SERVICE   56  for a dot1q-tunnel port: to STRIP, from where the frame comes back whatever becomes of it there
    STRIP     57  the service VLAN's tag off, and the frame parsed again
    REPLY     58  the question turned around into its answer, which goes to the asker by DELIVER
    REFUSE    60  a frame to be dropped, for the account of the port that sent it
    DROP      61  by REASON, counted for all ports, and for PORT by a flow that the switch makes itself
    COUNTED   62  those flows: (PORT, REASON)

The tunnel bridge, one per host:

    CLASSIFY   0  by port: a network's patch gets its segment, a tunnel goes to SEGMENT
    SEGMENT   20  (peer, segment) to its network: learn where the sender is, hand the frame to the patch and to nothing else
    UNICAST   30  what was learned: (network, VLAN, MAC) to the tunnel it was seen behind
    TUNNEL    35  out of the tunnel in PORT, if the path to its peer carries the frame; broadcast and strangers go on
    SIZED     36  what it does not carry goes to REFUSE
    FLOOD     40  one copy to each of the network's living peers
    COPIES    41  those copies, if each of them can be carried
    REFUSE    60  a frame to be dropped, parsed again: its way was worked out for frames of any size, and only this one counts
    DROP      61  by REASON, counted for the guest's port in SENDER by a flow that the switch makes itself
    COUNTED   62  those flows: (patch, SENDER, REASON)

What comes from a tunnel reaches only SEGMENT, whose flows lead only to patches, so
no frame ever goes from tunnel to tunnel and the mesh has no loops.

Whose frames come from an isolated port is marked in pkt_mark, the one field that a
patch leaves alone; between hosts it travels as a second segment of the network. The number of the port that a
frame came by is in the upper half of pkt_mark while it crosses the patch to the tunnels.

Open vSwitch looks at one tag (vlan-limit=1, its default); a second one shows as the
EtherType of what stands behind the first, in which all checks here trust. Where it
looks at two, its cache of decisions takes a frame with two tags for one with the first
alone (xlate_wc_finish in ofproto-dpif-xlate.c), so that no flow can tell them apart. There
each tag is taken off where the frame comes in, the frame parsed again, and what then stands first remembered. To
see a customer's tag with the service VLAN's off, a frame is parsed again: the group AGAIN
has one bucket, and choosing among buckets by hash recirculates in both data planes. That
ends all that was still to be done for the frame, also behind a clone, but not behind a
group's bucket; so that the copies behind a tunnel port's are made, the group APART leads there.
"""

from __future__ import annotations

import re
from enum import IntEnum

_BASE = 0x766E6574 << 32
"""The upper half of every cookie of vnetd's: "vnet" in ASCII."""


class Table(IntEnum):
    """Table numbers of a network's bridge; the gaps leave room between purposes."""

    CLASSIFY = 0
    PRIORITY = 5
    PEEKED = 6
    GUARD = 10
    VLAN = 12
    NESTED = 14
    PACE = 15
    POOL = 16
    POOL_ALL = 17
    MARK = 18
    TYPE = 20
    SOURCE = 21
    VERDICT = 22
    AMBIGUOUS = 25
    KIND = 30
    NEIGHBOUR = 31
    LEARN = 40
    LOOKUP = 41
    DELIVER = 42
    BARE = 43
    CUSTOMER = 44
    TOWARD = 45
    TO_POOL = 46
    TO_POOL_ALL = 47
    OUTPUT = 48
    ANSWER = 49
    LIMIT = 50
    CAST = 51
    FLOOD = 52
    STATION = 53
    HOST = 54
    COPY = 55
    SERVICE = 56
    STRIP = 57
    REPLY = 58
    REFUSE = 60
    DROP = 61
    COUNTED = 62


class TunnelTable(IntEnum):
    """Table numbers of the tunnel bridge."""

    CLASSIFY = 0
    SEGMENT = 20
    UNICAST = 30
    TUNNEL = 35
    SIZED = 36
    FLOOD = 40
    COPIES = 41
    REFUSE = 60
    DROP = 61
    COUNTED = 62


AGAIN = 0x766E6574
"""The number of the group by which a frame is parsed again; it leads to CUSTOMER."""

APART = AGAIN + 1
"""The number of the group that leads to STRIP, and whose end is no more than its own."""

ANEW = AGAIN + 2
"""The number of the group by which the tunnel bridge parses a frame again before it is dropped; it leads to DROP."""

PEEK = AGAIN + 3
"""The number of the group by which a frame without its first tag is parsed again, where tags hide; it leads to PEEKED."""

OUR_GROUPS = frozenset({AGAIN, APART, ANEW, PEEK})


class Fact(IntEnum):
    """Bits of the register FACTS (reg3): what the pipeline has found out about a frame."""

    OWN = 0x01
    """The address in question is the port's own."""
    UNADDRESSED = 0x02
    """The port has no address but its link-local one, and may speak DHCP only."""
    SENDER_OWN = 0x04
    """A neighbour advertisement's sender is the port's own, while OWN is asked again for its target."""
    NEIGHBOUR = 0x08
    """ARP, RARP or neighbour discovery, which has a limit of its own."""
    PLAIN = 0x10
    """An IP or ARP frame for many that a strict port may hear."""
    STRICT = 0x20
    """From a port with guard='strict'."""
    TO_STRICT = 0x40
    """To a port with guard='strict'."""
    NESTED = 0x80
    """A customer's tag stands behind the service VLAN's, which was put on here."""


class Cookie(IntEnum):
    """A flow's kind. Kinds never change their number: another cookie makes every flow be replaced."""

    CLASSIFY = _BASE | 0x01
    GUARD = _BASE | 0x10
    VLAN = _BASE | 0x14
    SOURCE = _BASE | 0x15
    VERDICT = _BASE | 0x16
    LIMIT = _BASE | 0x17
    LEARN = _BASE | 0x21
    DELIVER = _BASE | 0x22
    TOWARD = _BASE | 0x23
    HOST = _BASE | 0x24
    REFUSE = _BASE | 0x25
    ANSWER = _BASE | 0x26
    SEGMENT = _BASE | 0x30
    UNICAST = _BASE | 0x31
    LEARNED = _BASE | 0x32
    FLOOD = _BASE | 0x33
    LEARNED_GUEST = _BASE | 0x34
    LEARNED_UNGUARDED = _BASE | 0x35
    BOND = _BASE | 0x36


class Reason(IntEnum):
    """Why a frame drops: the value of the register REASON (reg2) and the last byte of the cookies that count it.

    0x4E was that of neighbour discovery in a fragment, and is not given again.
    """

    UNWIRED = 0x02
    FOREIGN_MAC = 0x11
    FOREIGN_VLAN = 0x12
    NESTED_TAG = 0x13
    UNKNOWN_TYPE = 0x40
    RESERVED = 0x41
    MALFORMED_ARP = 0x42
    FOREIGN_ARP = 0x43
    FOREIGN_IPV4 = 0x44
    FOREIGN_IPV6 = 0x45
    UNADDRESSED = 0x46
    MALFORMED_IP = 0x47
    DHCP_SERVER = 0x48
    DHCPV6_SERVER = 0x49
    ROUTER_ADVERTISEMENT = 0x4A
    REDIRECT = 0x4B
    MLD_QUERY = 0x4C
    DISCOVERY = 0x4D
    ICMPV6_TYPE = 0x4F
    MISCAST = 0x50
    ISOLATED = 0x51
    NOT_ADDRESSED = 0x52
    HOST = 0x53
    TOO_LARGE = 0x54
    WATCH = 0x55
    DEAD_PEER = 0x56
    AMBIGUOUS = 0x57
    IPV6_FRAGMENT = 0x58
    FLOOD_LIMIT = 0x60
    NEIGHBOUR_LIMIT = 0x61
    BANDWIDTH = 0x62
    PACKETS = 0x63

    @property
    def total(self) -> int:
        """The cookie of the flow that counts this reason for all ports."""
        return _BASE | 0x0200 | self

    @property
    def counted(self) -> int:
        """The cookie of the flows that the switch makes to count this reason for one port."""
        return _BASE | 0x0100 | self

    @property
    def direct(self) -> int:
        """The cookie of a port's own flow that drops for this reason and nothing else."""
        return _BASE | self


REASONS = {
    Reason.UNWIRED: "port without policy",
    Reason.FOREIGN_MAC: "foreign source MAC",
    Reason.FOREIGN_VLAN: "VLAN not allowed",
    Reason.NESTED_TAG: "second VLAN tag",
    Reason.UNKNOWN_TYPE: "unknown EtherType",
    Reason.RESERVED: "reserved multicast",
    Reason.MALFORMED_ARP: "malformed ARP or RARP",
    Reason.FOREIGN_ARP: "ARP for another's address",
    Reason.FOREIGN_IPV4: "foreign IPv4 source",
    Reason.FOREIGN_IPV6: "foreign IPv6 source",
    Reason.UNADDRESSED: "no address known",
    Reason.MALFORMED_IP: "malformed IP",
    Reason.DHCP_SERVER: "DHCP server",
    Reason.DHCPV6_SERVER: "DHCPv6 server",
    Reason.ROUTER_ADVERTISEMENT: "router advertisement",
    Reason.REDIRECT: "ICMPv6 redirect",
    Reason.MLD_QUERY: "MLD query",
    Reason.DISCOVERY: "neighbour discovery",
    Reason.ICMPV6_TYPE: "ICMPv6 type",
    Reason.MISCAST: "unicast packet in a multicast frame",
    Reason.ISOLATED: "isolated port",
    Reason.NOT_ADDRESSED: "not addressed to the guest",
    Reason.HOST: "host out of reach",
    Reason.TOO_LARGE: "too large for the tunnel",
    Reason.WATCH: "BFD for a tunnel",
    Reason.DEAD_PEER: "peer not alive",
    Reason.AMBIGUOUS: "read in two ways",
    Reason.IPV6_FRAGMENT: "IPv6 fragment",
    Reason.FLOOD_LIMIT: "flood limit",
    Reason.NEIGHBOUR_LIMIT: "ARP and ND limit",
    Reason.BANDWIDTH: "bandwidth limit",
    Reason.PACKETS: "limit on packets",
}
"""Why a frame was dropped, in words."""

_OURS = f"cookie=0x{_BASE >> 32:x}"
_KINDS = "|".join(f"{low:04x}" for low in (0x34, 0x35, *(0x0100 | reason for reason in Reason)))
_LEARNED = re.compile(rf"{_OURS}(?:[0-9a-f]{{4}}{Cookie.LEARNED & 0xFFFF:04x}|0000(?:{_KINDS})),")


def is_ours(line: str) -> bool:
    """Whether a line of ``ovs-ofctl dump-flows`` is a flow of vnetd's."""
    return line.startswith(_OURS) and line.find(",") == len(_OURS) + 8


def is_learned(line: str) -> bool:
    """Whether the switch made the flow itself, by a learn action of vnetd's."""
    return _LEARNED.match(line) is not None


_COUNTING = re.compile(rf"table={Table.COUNTED:d}, .* actions=drop$")
_PLACE = r", .* actions=load:0x[0-9a-f]+->NXM_NX_REG1\[0\.\.15\]$"
_FORMS = re.compile(rf"table={Table.LOOKUP:d}{_PLACE}|{_COUNTING.pattern}")
_BEHIND = re.compile(rf"table={TunnelTable.UNICAST:d}{_PLACE}")


def is_learned_here(line: str) -> bool:
    """Whether the switch may have made the flow on a network's bridge: by hand one could give the cookie to any."""
    return is_learned(line) and _FORMS.search(line) is not None


def is_place(line: str) -> bool:
    """Whether the switch may have made the flow to find somebody behind a tunnel; an earlier vnetd's sent the frame off themselves."""
    return is_learned(line) and _BEHIND.search(line) is not None


def is_count(line: str) -> bool:
    """Whether the switch may have made the flow to count what it drops for a port."""
    return is_learned(line) and _COUNTING.search(line) is not None


def reason_of(cookie: int, of: str) -> Reason | None:
    """The reason that a cookie counts, as one of ``total``, ``counted`` and ``direct``; None for any other cookie."""
    kind = {"direct": 0, "counted": 0x0100, "total": 0x0200}[of]
    try:
        reason = Reason(cookie & 0xFF)
    except ValueError:
        return None
    return reason if cookie == _BASE | kind | reason else None
