"""The random walk's host and its sources, and all that may happen to either."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from fakes import FakeHost, mac_of, uuid_of
from lines import is_vnetds
from walk_sources import ADDRESSES, GUESTS, HERE, NAME, NETWORKS, SCRIPTED, access

from vnetd.errors import WorldError
from vnetd.model.dataplane import USERSPACE
from vnetd.model.judge import Judge
from vnetd.model.names import IfName
from vnetd.model.network import Inventory, Network, Nic
from vnetd.model.state import TUNNELS, Group, GroupKind, Role, Shape
from vnetd.reconcile import Outcome, Rim, reconcile


@dataclass
class World:
    """A host and its sources, and all that may happen to either."""

    host: FakeHost
    networks: dict[str, Network] = field(default_factory=dict)
    domains: dict[int, tuple[Nic, ...]] = field(default_factory=dict)
    announced: dict[str, Nic] = field(default_factory=dict)
    scripted: dict[str, Nic] = field(default_factory=dict)
    gone_networks: set[str] = field(default_factory=set)
    gone_taps: set[str] = field(default_factory=set)
    doubt: bool = False
    """Whether something happened since the last pass that only a look at the switch or the kernel shows."""

    @property
    def rim(self) -> Rim:
        """The host as the daemon sees it, which believes what it remembers until it has a reason to doubt it."""
        return Rim(self.host, self.host, self.host)

    def make_pass(self) -> Outcome:
        """A pass, and where it fails another one, as the daemon makes it."""
        before = self.host.text_by_hand()
        if self.doubt:
            self.rim.forget()
        try:
            outcome = reconcile(self.inventory(), self.rim)
        except WorldError:
            outcome = reconcile(self.inventory(), self.host.rim())
        if outcome.left:
            outcome = reconcile(self.inventory(), self.host.rim())
        self.doubt = False
        self.gone_networks.clear()
        self.gone_taps.clear()
        after = self.host.text_by_hand()
        assert {name: before[name] for name in after if name in before} == {name: after[name] for name in after if name in before}
        assert {name for name in before if name.startswith("br-user")} <= set(after)
        return outcome

    def inventory(self) -> Inventory:
        nics = [nic for guest in self.domains.values() for nic in guest]
        return Inventory(
            networks=tuple(self.networks.values()),
            nics=(*nics, *self.announced.values(), *self.scripted.values()),
            gone_networks=frozenset(self.gone_networks),
            gone_taps=frozenset(self.gone_taps),
            complete=True,
        )

    def claimed(self) -> set[str]:
        """The taps that a source names, by their own name or by libvirt's interfaceid, on a network that takes them."""
        wanted = {nic.iface_id for nic in self.announced.values() if self._is_taken(nic)}
        joined = {name for name, row in self.host.ports.items() if row.ids.get("iface-id") in wanted}
        nics = [nic for guest in (*self.domains.values(), self.scripted.values()) for nic in guest]
        return joined | {str(nic.tap) for nic in nics if self._is_taken(nic)}

    def _is_taken(self, nic: Nic) -> bool:
        network = self.networks.get(str(nic.network))
        known = network is not None and (nic.portgroup is None or network.portgroup(nic.portgroup) is not None)
        return known and network is not None and self.serves(network)

    def serves(self, network: Network) -> bool:
        """Whether its bridge is its own, or a VLAN of a network's that is served."""
        row = self.host.ports.get(network.bridge)
        return row is None or row.fake is None or row.bridge in {str(one.bridge) for one in self.networks.values()}

    def behind(self, patch: str) -> str:
        """The bridge at the other end of a patch."""
        return self.host.ports[dict(self.host.ports[patch].options)["peer"]].bridge

    # Networks.

    def network_comes(self, name: str, variant: int) -> None:
        """It is started, or changed while it runs."""
        self.networks[name] = NETWORKS[name][variant % len(NETWORKS[name])]
        self.gone_networks.discard(self.networks[name].uuid)

    def network_goes(self, name: str) -> None:
        if network := self.networks.pop(name, None):
            self.gone_networks.add(network.uuid)

    # Guests of libvirt's.

    def guest_comes(self, number: int) -> None:
        """Taps and rows first, then the guest's XML names them, as at a start or when a migration ends here."""
        for nic in GUESTS[number]:
            self._plug(nic)
        self.domains[number] = GUESTS[number]

    def guest_prepares(self, number: int) -> None:
        """Its XML is here before its taps are, as while it migrates to this host."""
        self.domains[number] = GUESTS[number]

    def guest_goes(self, number: int) -> None:
        for nic in GUESTS[number]:
            self._unplug(nic)
        self.domains.pop(number, None)

    def guest_crashes(self, number: int) -> None:
        """Its taps go with it, and nobody deletes its rows."""
        for nic in GUESTS[number]:
            self.host.link_goes(str(nic.tap))
            self.announced.pop(str(nic.portid), None)
        self.domains.pop(number, None)

    def guest_is_forgotten(self, number: int) -> None:
        """The sources drop it while its taps are still there: libvirt says "stopped" before it takes the taps away."""
        self.domains.pop(number, None)

    def nic_is_announced(self, number: int) -> None:
        """Hotplug: libvirt says that a NIC will come, but not what its tap is called."""
        nic = GUESTS[number][-1]
        self.announced[str(nic.portid)] = replace(nic, tap=None)

    def nic_is_plugged(self, number: int) -> None:
        if str(GUESTS[number][-1].portid) in self.announced:
            self._plug(GUESTS[number][-1])

    def nic_is_unplugged(self, number: int) -> None:
        nic = GUESTS[number][-1]
        self._unplug(nic)
        if number in self.domains:
            self.domains[number] = tuple(one for one in self.domains[number] if one is not nic)

    def _plug(self, nic: Nic) -> None:
        network = self.networks.get(str(nic.network))
        fakes = {name for name, row in self.host.ports.items() if row.fake is not None}
        if network is None or network.bridge not in self.host.bridges.keys() | fakes:
            return  # libvirt finds no bridge, and the tap stays out of Open vSwitch.
        self.host.link_comes(str(nic.tap))
        ids = {"attached-mac": str(nic.mac), "iface-id": str(nic.iface_id), "vm-id": str(nic.owner_uuid)}
        self.host.libvirt_add_port(str(nic.tap), network.bridge, ids, tag=10, shape=Shape(1, 2, 3), policing=400)

    def _unplug(self, nic: Nic) -> None:
        self.host.libvirt_del_port(str(nic.tap))
        self.host.link_goes(str(nic.tap))
        self.announced.pop(str(nic.portid), None)

    # Taps of ovs-ifup's.

    def ifup(self, number: int) -> None:
        nic = SCRIPTED[number]
        self.host.link_comes(str(nic.tap), up=False)
        self.scripted[str(nic.tap)] = nic
        self.gone_taps.discard(str(nic.tap))

    def ifdown(self, number: int) -> None:
        """QEMU runs the script before it closes the tap."""
        tap = str(SCRIPTED[number].tap)
        self.scripted.pop(tap, None)
        self.gone_taps.add(tap)

    def tap_goes(self, number: int) -> None:
        """Whoever held it was killed."""
        self.host.link_goes(str(SCRIPTED[number].tap))

    def tap_is_set_down(self, number: int) -> None:
        if str(SCRIPTED[number].tap) in self.host.links:
            self.host.links[str(SCRIPTED[number].tap)] = False

    def ethernet_guest_comes(self) -> None:
        """libvirt knows the MAC of a tap whose file has none, and nothing of its network."""
        tap = str(SCRIPTED[1].tap)
        self.domains[9] = (Nic(mac_of(17), tap=IfName(tap), owner="guest9", owner_uuid=uuid_of(309)),)

    def ethernet_guest_goes(self) -> None:
        """Its tap goes with it, and the pass of the hook that says so comes before another guest can have the tap."""
        self.domains.pop(9, None)
        self.tap_goes(1)
        self.make_pass()

    # The host.

    def address_comes(self) -> None:
        self.doubt = True
        self.host.addresses.add(HERE)

    def address_goes(self) -> None:
        self.doubt = True
        self.host.addresses.discard(HERE)

    def another_address_is_set(self) -> None:
        """The setting says that this host is hv2, or says nothing again."""
        self.doubt = True
        self.host.local_address = None if self.host.local_address else ADDRESSES[1]

    def peer_dies(self, number: int) -> None:
        """Open vSwitch says so in OVSDB, and whoever follows that sees it without having doubted anything."""
        self.host.dead.add(str(ADDRESSES[number % 3]))

    def peer_returns(self, number: int) -> None:
        self.host.dead.discard(str(ADDRESSES[number % 3]))

    def path_is_measured(self, number: int) -> None:
        """Another time it is narrower, or wider."""
        known = self.host.found_out
        self.host.found_out = replace(known, paths={**known.paths, ADDRESSES[number % 3]: (1500, 1400, 9000)[number // 3]})

    def name_is_looked_up(self, number: int) -> None:
        """It has another address, another host's, this host's, one of the other kind, or none."""
        found = ((ADDRESSES[2],), (ip_address("192.0.2.14"),), ADDRESSES[1:2], (HERE,), (ip_address("2001:db8::13"),), ())
        self.host.found_out = replace(self.host.found_out, names={NAME: found[number % 6]})

    def tunnel_bridge_is_renamed(self) -> None:
        self.doubt = True
        self.host.tunnel_bridge = "br-mesh" if self.host.tunnel_bridge == "br-tun" else "br-tun"

    def device_breaks(self, number: int) -> None:
        """Open vSwitch cannot open a tap or an uplink; the transaction succeeds all the same."""
        self.host.link_breaks(("vnet1", "vnet5", "tap0", "eth1", "eth2")[number % 5])

    def nic_comes_or_goes(self, number: int) -> None:
        """One of the NICs of a bond, and maybe a network's only one."""
        name = ("eth2", "eth3")[number % 2]
        if name in self.host.links:
            self.host.link_goes(name)
        else:
            self.host.link_comes(name, up=False)

    def daemon_starts_blind(self) -> None:
        """A pass without any source changes nothing that lives.

        It may sweep rows of taps that are gone and of no port's QoS, and let the flows that are there see into fragments again.
        """
        if any(row.owner not in ("", TUNNELS) for row in self.host.bridges.values()):
            self.host.fuse = None
            before = self._living()
            reconcile(Inventory(), self.host.rim())
            assert self._living() == before

    def _living(self) -> list[str]:
        lines = [line for line in self.host.text().splitlines() if not line.startswith("QoS") and not line.endswith(", dead")]
        return [re.sub(r"^(bridge .*, )(normal|drop)(, quiet)", r"\1nx-match\3", line) for line in lines]

    def switch_restarts(self) -> None:
        self.doubt = True
        self.host.vswitchd_restart()

    def switch_renumbers(self) -> None:
        self.doubt = True
        self.host.vswitchd_restart(order=sorted(self.host.ports, reverse=True))

    def ovsdb_is_lost(self) -> None:
        self.host.ovsdb_lost()

    def numbers_are_reused(self) -> None:
        self.host.reuse_numbers = not self.host.reuse_numbers

    def traffic_is_learned(self, number: int) -> None:
        """A frame from behind a tunnel, for each network that has one."""
        self.doubt = True
        bridge = self.host.tunnel_bridge
        for line in self.host.flows(bridge) if bridge in self.host.bridges else ():
            if "load:NXM_OF_IN_PORT[]->NXM_NX_REG1" in line and "gone-" not in line:
                tunnel = line.partition(",in_port=")[2].partition(" ")[0]
                self.host.learn(line.rpartition("output:")[2], tunnel, mac_of(200 + number))

    def large_frames_are_sent(self, number: int) -> None:
        """Every other port of each network with an overlay sends one that no path carries, and so does somebody who is no port."""
        self.doubt = True
        rows = self.host.rows()
        for patch, row in sorted(self.host.ports.items()):
            whole = row.mark is Role.PATCH and row.bridge == self.host.tunnel_bridge and row.ofport > 0
            if whole and self.host.bridges[row.bridge].fail_mode == "secure" and dict(row.options).get("peer") in self.host.ports:
                senders = sorted(rows.numbers(self.behind(patch)).values())
                for sender in (*senders[number % 2 :: 2], 0xFFFE, 99):
                    self.host.refuse_toward_peers(patch, sender)

    def guests_speak(self, number: int) -> None:
        """A frame from every other port of a network's bridge, and one that drops."""
        self.doubt = True
        for at, (name, row) in enumerate(sorted(self.host.ports.items())):
            speaks = row.mark in (Role.GUEST, Role.UPLINK, Role.PATCH) and row.bridge in {one.bridge for one in self.networks.values()}
            if speaks and row.ofport > 0 and at % 2 == number % 2 and self.host.bridges[row.bridge].fail_mode == "secure":
                self.host.hear(name, mac_of(100 + at))
                self.host.refuse(name, 0x11 + number % 3)

    def something_fails(self, number: int) -> None:
        """The switch or OVSDB refuses a change in the middle of the next pass."""
        self.host.fuse = number

    # People.

    def hand_makes_things(self) -> None:
        """A bridge, a port and a flow of somebody's own. Repairing fail_mode costs a bridge all its flows, so there it is none."""
        if "br-user" not in self.host.bridges:
            self.host.hand_bridge("br-user")
        for bridge, row in self.host.bridges.items():
            if row.owner and row.fail_mode == "secure" and f"my-{bridge}" not in self.host.ports:
                self.host.hand_port(f"my-{bridge}", bridge)
                self.host.hand_flow(bridge, "cookie=0x7, table=5, priority=9,in_port=LOCAL actions=output:1")
                break

    def hand_takes_things_away(self) -> None:
        """A bridge of somebody's own goes, and with it what vnetd has there."""
        if "br-user" in self.host.bridges:
            self.host.hand_delete_bridge("br-user")

    def hand_makes_a_fake_bridge(self) -> None:
        """Open vSwitch refuses it where there is a bridge of that name."""
        if "br-red" in self.host.bridges and "br-pink" not in self.host.bridges.keys() | self.host.ports.keys():
            self.host.hand_fake_bridge("br-pink", "br-red", 40)

    def hand_deletes_a_fake_bridge(self) -> None:
        row = self.host.ports.get("br-pink")
        if row is not None and row.fake is not None:
            self.host.hand_delete_port("br-pink")

    def hand_deletes_a_port(self, number: int) -> None:
        if ours := self._ports():
            self.host.hand_delete_port(ours[number % len(ours)])

    def hand_deletes_a_bridge(self, number: int) -> None:
        if ours := [name for name, row in self.host.bridges.items() if row.owner and f"my-{name}" not in self.host.ports]:
            self.host.hand_delete_bridge(ours[number % len(ours)])

    def hand_changes_ports(self, number: int) -> None:
        for name in self._ports():
            row = self.host.ports[name]
            match number % 7:
                case 0:
                    row.vlan = access(99)
                case 1:
                    row.mtu = 9000
                case 2:
                    row.qos = None
                case 3:
                    row.options = (("key", "7"),)
                case 4:
                    row.members = row.members[1:]
                    row.numbers.clear()
                    self.host.device_changes(name)
                case 5:
                    row.bond = tuple((column, "passive") for column, _ in row.bond)
                case 6:
                    row.bfd = (("enable", "false"),)

    def hand_changes_flows(self, number: int) -> None:
        """One is deleted, one lets everything pass, and one bears vnetd's cookie and is not vnetd's."""
        self.doubt = True
        for row in self.host.bridges.values():
            keys = sorted(key for key, line in row.flows.items() if is_vnetds(line))
            if row.owner and len(keys) > 1:
                one, other = keys[number % len(keys)], keys[(number + 1) % len(keys)]
                row.flows[one] = row.flows[one].partition(" actions=")[0] + " actions=NORMAL"
                del row.flows[other]
        for name, row in self.host.bridges.items():
            if row.owner:
                self.host.hand_flow(name, "cookie=0x766e657400000001, priority=500 actions=NORMAL")

    def hand_changes_fragments(self, number: int) -> None:
        """The flows then see no port of a fragment; those that somebody needs so are on their own bridge."""
        self.doubt = True
        if ours := [row for row in self.host.bridges.values() if row.owner]:
            ours[number % len(ours)].fragments = ("normal", "drop")[number % 2]

    def hand_changes_groups(self, number: int) -> None:
        """They are gone, and their flows with them, or lead elsewhere."""
        self.doubt = True
        for row in self.host.bridges.values():
            if row.groups and number % 2:
                row.groups = dict.fromkeys(row.groups, Group(GroupKind.INDIRECT, 61))
            elif row.groups:
                row.groups = {}
                row.flows = {key: line for key, line in row.flows.items() if "group:" not in line}

    def hand_takes_queues_away(self, number: int) -> None:
        """With tc, or their lengths are changed; a look shows it at once, whatever is remembered. vnetd has them in one data plane only."""
        for name in self._ports() if self.host.datapath == USERSPACE else ():
            if limit := self.host.limit_of(name):
                limit.leaf = (None, 1, 1000)[number % 3]

    def hand_takes_judges_away(self, number: int) -> None:
        """With tc, or others are put in their place."""
        for name in sorted(self.host.judges)[number % 2 :: 2]:
            if number % 3:
                del self.host.judges[name]
            else:
                self.host.judges[name] = Judge((), "somebody's")

    def hand_opens_a_bridge(self, number: int) -> None:
        if ours := [row for row in self.host.bridges.values() if row.owner]:
            row = ours[number % len(ours)]
            row.fail_mode, row.flows, row.meters, row.groups, row.sealed = "standalone", {}, {}, {}, False

    def _ports(self) -> list[str]:
        return sorted(name for name, row in self.host.ports.items() if row.mark is not None)
