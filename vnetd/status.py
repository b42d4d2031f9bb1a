"""What ``vnetctl status`` tells, as one plain structure, and as a table to read.

Everything is taken from one look at the world, so a port that has just been broken
by hand shows as broken even before it is repaired.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vnetd.drops import Drop
from vnetd.intent import bond_names
from vnetd.model.dataplane import DataPlane
from vnetd.model.names import written
from vnetd.model.network import Network, Problem
from vnetd.model.state import TUNNELS, Desired, Observed, Role
from vnetd.plan import Plan
from vnetd.reconcile import standing_problems
from vnetd.textual import columns
from vnetd.tunnels import state_of


def report(desired: Desired, observed: Observed, plan: Plan, drops: Iterable[Drop] = (), limits: Iterable[Problem] = ()) -> dict[str, Any]:
    """Networks, ports and tunnels, each with its state and, in words, what is wrong with it; ``limits`` is what tc has to answer for."""
    problems = sorted({*standing_problems(desired, observed), *limits})
    errors = _Errors(problems)
    by_port: dict[str, dict[str, int]] = {}
    for drop in drops:
        by_port.setdefault(drop.port, {})[drop.reason] = drop.packets
    return {
        "networks": _networks(desired, observed, errors, by_port),
        "ports": [*_ports(desired, observed, errors, by_port), *_unclaimed(desired, observed, by_port)],
        "tunnels": _tunnels(desired, observed, errors),
        "problems": [{"kind": one.kind, "name": one.name, "text": one.text, "soft": one.soft} for one in problems],
        "to_do": plan.lines(),
        "dataplane": _dataplane(observed.host.dataplane),
    }


def _dataplane(plane: DataPlane) -> dict[str, Any] | None:
    """What the data plane is and can do; None before anybody could ask it."""
    if not plane.kind:
        return None
    return {
        "type": plane.kind,
        "openvswitch": plane.switch,
        "kernel": plane.kernel,
        "module": plane.module or None,
        "meters": plane.meters,
        "threads": plane.threads,
        "features": dict(plane.features),
        "links": dict(plane.links),
        "tc": dict(plane.tc),
        "lacks": plane.lacks(),
        "words": plane.words(),
    }


class _Errors:
    def __init__(self, problems: Sequence[Problem]) -> None:
        self._problems = problems

    def of(self, kind: str, *names: str) -> tuple[str, str]:
        """(state, words) of an object: "error" for what stops it, "notice" for what does not."""
        mine = [one for one in self._problems if one.kind == kind and one.name in names]
        state = "error" if any(not one.soft for one in mine) else "notice" if mine else ""
        return state, "; ".join(one.text for one in mine)


def _networks(desired: Desired, observed: Observed, errors: _Errors, drops: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    found = []
    for name, network in sorted(desired.networks.items()):
        state, words = errors.of("network", network.name, network.uuid)
        home = desired.homes.get(name)
        fake = observed.rows.fakes.get(network.bridge) if home != network.bridge else None
        overlay = network.overlay
        found.append(
            {
                "name": name,
                "uuid": network.uuid,
                "bridge": network.bridge,
                "state": state or ("up" if home in observed.rows.bridges else "missing"),
                "parent": {"bridge": fake.parent, "vlan": fake.tag} if fake else None,
                "overlay": {
                    "type": str(overlay.type),
                    "segment": overlay.segment,
                    "local": str(desired.locals[name]) if name in desired.locals else None,
                    "peers": len(overlay.peers) - (name in desired.locals),
                    "alive": sum(1 for facts in desired.tunnels.values() if name in facts.networks and facts.wire.alive),
                    "mtu": desired.mtus.get(name),
                }
                if overlay
                else None,
                **_uplink(desired, observed, network),
                "joints": _joints(desired, observed, network),
                "dropped": drops.get(network.bridge, {}),
                "ports": sum(1 for facts in desired.guests.values() if facts.network == name),
                "error": words or None,
            }
        )
    return found


def _uplink(desired: Desired, observed: Observed, network: Network) -> dict[str, Any]:
    """The way to the wire that is in force: that of the XML, or after a change that cannot be had the one before."""
    if network.uplink is None:
        return {"uplink": None, "bond": None}
    homes = (network.bridge, bond_names(network.bridge).bridge)
    carrier = next((port for port in desired.ports.values() if port.role in (Role.UPLINK, Role.BOND) and port.bridge in homes), None)
    bond, devs = network.uplink.bond, list(map(str, network.uplink.devs))
    if carrier is None:
        return {"uplink": ",".join(devs), "bond": _bond(observed, bond.name, str(bond.mode), str(bond.lacp), devs) if bond else None}
    if carrier.role is Role.UPLINK:
        return {"uplink": carrier.name, "bond": None}
    if bond is None or bond.name != carrier.name or set(carrier.members) != {dev for dev in devs if dev in observed.host.links}:
        devs = list(carrier.members)
    columns = dict(carrier.bond)
    return {"uplink": ",".join(devs), "bond": _bond(observed, carrier.name, columns["bond_mode"], columns["lacp"], devs)}


def _bond(observed: Observed, name: str, mode: str, lacp: str, devs: Iterable[str]) -> dict[str, Any]:
    """A bond and how its NICs are: whether there is a signal, and, with LACP, whether the partner answers."""
    seen = observed.rows.ports.get(name)
    by_name = {one.name: one for one in seen.members} if seen else {}
    members = []
    for dev in devs:
        link, member = observed.host.links.get(dev), by_name.get(dev)
        state = "missing" if link is None or member is None else "up" if link.up and link.carrier else "down"
        members.append(
            {"name": dev, "link": state, "lacp": member.lacp if member else None, "error": (member.error if member else "") or None}
        )
    return {"name": name, "mode": mode, "lacp": lacp, "members": members}


def _joints(desired: Desired, observed: Observed, network: Network) -> list[dict[str, Any]]:
    """The bridges that the network's is joined to by patches, by its own XML or the other's."""
    wiring = desired.wirings.get(network.bridge)
    found = []
    for name in wiring.joints if wiring else ():
        peer, seen = dict(desired.ports[name].options)["peer"], observed.rows.ports.get(name)
        found.append({"port": name, "bridge": desired.ports[peer].bridge, "state": "up" if seen is not None and seen.live else "missing"})
    return sorted(found, key=lambda one: str(one["bridge"]))


def _ports(desired: Desired, observed: Observed, errors: _Errors, drops: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for tap, facts in sorted(desired.guests.items()):
        state, words = errors.of("port", tap)
        port, seen = desired.ports.get(tap), observed.rows.ports.get(tap)
        found.append(
            {
                "tap": tap,
                "guest": facts.guest,
                "network": facts.network,
                "portgroup": facts.portgroup,
                "mac": facts.mac,
                "vlan": str(port.vlan) if port and port.vlan else None,
                "guard": facts.guard,
                "addresses": [written(one) for one in facts.addresses],
                "isolated": facts.isolated,
                "mtu": port.mtu if port else None,
                "state": state or ("up" if seen is not None and seen.live else "missing"),
                "dropped": drops.get(tap, {}),
                "error": words or None,
            }
        )
    return found


def _unclaimed(desired: Desired, observed: Observed, drops: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """Ports on vnetd's bridges that belong to nobody it knows: they are silent, and someone will ask why."""
    found: list[dict[str, Any]] = []
    fakes = {network.bridge for name, network in desired.networks.items() if name in desired.homes} & observed.rows.fakes.keys()
    for name, seen in sorted(observed.rows.ports.items()):
        bridge = observed.rows.bridges.get(seen.port.bridge)
        if name in desired.ports or name in desired.guests or bridge is None or not bridge.owner or bridge.owner == TUNNELS:
            continue
        if name in fakes:
            continue  # The port by which Open vSwitch makes a VLAN of the bridge look like one of its own: its network's line says so.
        found.append(
            {
                "tap": name, "guest": None, "network": None, "portgroup": None, "mac": None, "vlan": None, "guard": None,
                "addresses": [], "isolated": False, "mtu": None,
                "state": "closed", "dropped": drops.get(name, {}),
                "error": f"no guest or file that vnetd knows claims it, so nothing it sends passes; it is in bridge {seen.port.bridge}",
            }
        )  # fmt: skip
    return found


def _tunnels(desired: Desired, observed: Observed, errors: _Errors) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, facts in sorted(desired.tunnels.items()):
        state, words = errors.of("tunnel", name)
        found.append(
            {
                "name": name,
                "type": str(facts.type),
                "local": str(facts.local),
                "remote": str(facts.remote),
                "peers": list(facts.peers),
                "networks": list(facts.networks),
                "state": "error" if state == "error" else state_of(name, facts, observed)[0],
                "path_mtu": facts.path_mtu,
                "error": words or None,
            }
        )
    return found


def as_text(found: dict[str, Any]) -> str:
    """The report as aligned columns, one block for each kind of object."""
    blocks = []
    daemon = found.get("daemon")
    if daemon:
        trouble = f", in trouble: {daemon['trouble']}" if daemon["trouble"] else ""
        blocks.append(f"vnetd {daemon['version']} runs with pid {daemon['pid']}, libvirt: {daemon['libvirt']}{trouble}")
    else:
        blocks.append("vnetd does not run; this is what one look at the host shows")
    if found.get("dataplane"):
        blocks[0] += f"\n{found['dataplane']['words']}"
    networks = [
        (
            one["name"],
            one["bridge"],
            _overlay_words(one),
            _uplink_words(one),
            _joint_words(one),
            str(one["ports"]),
            _drop_words(one["dropped"]),
            one["state"],
            one["error"] or "",
        )
        for one in found["networks"]
    ]
    blocks.append(columns(("NETWORK", "BRIDGE", "OVERLAY", "UPLINK", "JOINED", "PORTS", "DROPPED", "STATE", ""), networks))
    ports = [
        (one["tap"], one["guest"] or "-", one["network"] or "-", one["portgroup"] or "-", one["mac"] or "-", one["vlan"] or "-",
         one["guard"] or "-", _drop_words(one["dropped"]), one["state"], one["error"] or "")
        for one in found["ports"]
    ]  # fmt: skip
    blocks.append(columns(("PORT", "GUEST", "NETWORK", "PORTGROUP", "MAC", "VLAN", "GUARD", "DROPPED", "STATE", ""), ports))
    tunnels = [
        (one["name"], one["type"], one["local"], one["remote"], ",".join(one["peers"]), ",".join(one["networks"]), one["state"],
         one["error"] or "")
        for one in found["tunnels"]
    ]  # fmt: skip
    blocks.append(columns(("TUNNEL", "TYPE", "LOCAL", "REMOTE", "PEER", "NETWORKS", "STATE", ""), tunnels))
    tabled = {("network", one["name"]) for one in found["networks"]} | {("network", one["uuid"]) for one in found["networks"]}
    tabled |= {("port", one["tap"]) for one in found["ports"]} | {("tunnel", one["name"]) for one in found["tunnels"]}
    others = [f"{one['kind']} {one['name']}: {one['text']}" for one in found["problems"] if (one["kind"], one["name"]) not in tabled]
    if others:
        blocks.append("\n".join(others))
    if found["to_do"]:
        blocks.append("\n".join([f"not as it should be; vnetctl apply would change {len(found['to_do'])}:", *found["to_do"][:10]]))
    return "\n\n".join(blocks)


def _overlay_words(one: dict[str, Any]) -> str:
    overlay = one["overlay"]
    if not overlay:
        return "-"
    mtu = f", MTU {overlay['mtu']}" if overlay["mtu"] else ""
    return f"{overlay['type']} {overlay['segment']}, {overlay['alive']} of {overlay['peers']} peers{mtu}"


def _uplink_words(one: dict[str, Any]) -> str:
    bond = one["bond"]
    if bond is None:
        return one["uplink"] or "-"
    return f"{bond['name']} ({bond['mode']}{_lacp_words(bond)}): " + ", ".join(f"{nic['name']} {nic['link']}" for nic in bond["members"])


def _lacp_words(bond: dict[str, Any]) -> str:
    if bond["lacp"] == "off":
        return ""
    return ", LACP" if all(nic["lacp"] for nic in bond["members"]) else ", LACP without answer"


def _joint_words(one: dict[str, Any]) -> str:
    parent = [f"VLAN {one['parent']['vlan']} of {one['parent']['bridge']}"] if one["parent"] else []
    return ", ".join([*parent, *(joint["bridge"] for joint in one["joints"])]) or "-"


def _drop_words(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "0"
