"""What the data plane of this host can do: found out once for each run of ovs-vswitchd, and what a lack of it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KERNEL, USERSPACE = "system", "netdev"
"""Bridge.datapath_type: who switches, the kernel's module or ovs-vswitchd by itself (ovs-vswitchd.conf.db(5))."""

LINK_COSTS = {
    "gretap": "no GRE over IPv4",
    "ip6gretap": "no GRE over IPv6",
    "vxlan": "no VXLAN",
    "geneve": "no Geneve",
    "ifb": "guests' ports stay closed",
}
"""The kinds of link (rtnetlink(7)) that Open vSwitch makes in the kernel for its tunnels, and vnetd for its judges, and what is not to be
had without each."""

_JUDGES = {KERNEL: "guests' ports stay closed"}
"""A port whose frames the kernel cannot judge gets no flows."""
_ALL_OF_IT = {**_JUDGES, USERSPACE: "no frame of a guest's can be kept from the host's own stack"}
TC_COSTS = {"clsact": _ALL_OF_IT, "cls_bpf": _ALL_OF_IT, "act_gact": _JUDGES, "act_csum": _JUDGES, "act_mirred": _JUDGES}
"""Parts of the kernel's traffic control, and what is not to be had without each on which data plane."""

TAGS = 2
"""The VLAN headers that the kernel's data plane must know for QinQ; what the userspace one says of that is what it is set to."""


@dataclass(frozen=True, slots=True)
class DataPlane:
    """What a data plane is and can do. The empty one stands for one that nobody has been able to ask yet.

    ``links`` and ``tc`` have only what the kernel was asked for and has answered; ``meters`` and ``threads`` are None where unknown.
    """

    kind: str = ""
    switch: str = ""
    """Open vSwitch's version."""
    kernel: str = ""
    """The kernel's release."""
    module: str = ""
    """The version of the module openvswitch, "in-tree" for that which comes with the kernel; "" where it is not loaded."""
    features: Mapping[str, str] = field(default_factory=dict)
    """As ``ovs-appctl dpif/show-dp-features`` prints them."""
    meters: int | None = None
    """The highest number of a meter (OpenFlow 1.3, A.3.5.10); 0 means that there are none."""
    threads: int | None = None
    """The threads of ovs-vswitchd's that take packets from the kernel and look after its flows."""
    links: Mapping[str, bool] = field(default_factory=dict)
    tc: Mapping[str, bool] = field(default_factory=dict)

    def has(self, feature: str) -> bool | None:
        """Whether it has a feature of yes or no; None where nobody has said."""
        word = self.features.get(feature)
        return None if word is None else word == "Yes"

    @property
    def tags(self) -> int | None:
        """How many VLAN headers of a frame the kernel knows."""
        word = self.features.get("Max VLAN headers", "") if self.kind == KERNEL else ""
        return int(word) if word.isdecimal() else None

    @property
    def deaf(self) -> bool:
        """Whether whatever the kernel does not know yet is lost, since nobody takes it."""
        return self.kind == KERNEL and self.threads == 0

    def lacks(self) -> dict[str, str]:
        """What is missing of all that vnetd can use, each with what that costs."""
        found = {}
        if self.has("Recirc") is False:
            found["recirculation"] = "what is refused is not counted"
        if self.has("Check pkt length action") is False:
            found["check_pkt_len"] = "frames of overlays go through ovs-vswitchd, each by itself, which is slow"
        if self.tags is not None and self.tags < TAGS:
            found["a second VLAN header"] = "no QinQ"
        if self.meters == 0:
            found["meters"] = "no limit on what guests send"
        found |= {kind: LINK_COSTS[kind] for kind, there in self.links.items() if not there}
        found |= {kind: TC_COSTS[kind][self.kind] for kind, there in self.tc.items() if not there and self.kind in TC_COSTS[kind]}
        return found

    def words(self) -> str:
        """What it is and what it lacks, in a line for people."""
        if not self.kind:
            return ""
        where = f"the kernel's data plane (Linux {self.kernel})" if self.kind == KERNEL else "the userspace data plane"
        lacks = "; ".join(f"{what} ({cost})" for what, cost in self.lacks().items())
        return f"Open vSwitch {self.switch or 'of an unknown version'} on {where}: " + (f"lacks {lacks}" if lacks else "nothing lacks")
