"""The judge of a bridge's own port: what guests may send to the host, where their network says host='yes'.

Strategy: the rows are those of the pipeline's table HOST, held against what the kernel itself
reads: ARP, and IP that can plainly be read and is not of a tunnel's protocol. All else drops.
So nothing that a guest can build reaches the host's own tunnels, whatever Open vSwitch takes it
for: the protocols that end in one are closed by where they go, and what hides its protocol is
closed, too.
"""

from __future__ import annotations

from functools import lru_cache

from vnetd.judge.assembler import ALL, HALF, Assembler
from vnetd.judge.packet import ARP, IPV4, IPV6, RARP, read_ipv4, read_ipv6
from vnetd.judge.rows import judge_rows
from vnetd.model.judge import Filter, Judge, Way
from vnetd.pipeline.catalogue import Reason
from vnetd.pipeline.switching import FOR_THE_HOST, NEVER_FOR_THE_HOST

_REACHES = "reaches"


@lru_cache(maxsize=1)
def host_judge() -> Judge:
    """The judge of the own port of any bridge that guests may reach the host by."""
    passing = Filter(_decision().assemble([_REACHES]).program, Way.OPEN)
    return Judge((passing, Filter(ALL, Way.DROP, Reason.HOST)), "for guests that may reach the host")


def _decision() -> Assembler:
    """The code: its outcomes are to pass, or nothing."""
    code, refused = Assembler(), Reason.HOST.name
    code.load(HALF, 12)
    for kind in (ARP, RARP):
        code.equal(kind, yes=_REACHES)
    code.equal(IPV4, yes="ipv4")
    code.equal(IPV6, yes="ipv6", no=refused)
    for kind, label, read in ((IPV4, "ipv4", read_ipv4), (IPV6, "ipv6", read_ipv6)):
        code.label(label)
        read(code, refused)
        rows = [(50, match, refused) for match in NEVER_FOR_THE_HOST] + [(10, match, _REACHES) for match in FOR_THE_HOST]
        judge_rows(code, kind, rows)
        code.jump(refused)
    return code
