"""What hooks and scripts ask for, turned into changes of the store.

One function for each verb. Each says what the store now knows, whether a pass is
needed, and what must be in order afterwards for the asker to be told "fine".
libvirt's rules decide who may be refused: ``start`` and ``prepare`` of a guest and
``start`` of a network; whatever else fails here is logged, since a failing
``reconnect`` kills a running guest.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vnetd.errors import InputError, WorldError
from vnetd.model import names
from vnetd.model.names import IfName
from vnetd.model.network import Guard, Network, Nic
from vnetd.policy import effective_policy
from vnetd.qemuargs import is_qemu, mac_of
from vnetd.reconcile import Outcome
from vnetd.store import Concerned, Entry, Kind, Store
from vnetd.xmlread import (
    DomainReading,
    as_kept,
    interface_text,
    read_domain,
    read_interface,
    read_network,
    read_network_hook,
)

LOG = logging.getLogger("vnetd.requests")
TAPS = Path("/etc/vnetd/taps")


@dataclass(frozen=True, slots=True)
class Request:
    """A verb (qemu, network, ifup, ifdown, apply), its arguments and what came on standard input."""

    verb: str
    arguments: tuple[str, ...]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """An exit status and a sentence (empty when all is well)."""

    status: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Intake:
    """What a request changed. ``check`` raises when the asker must be refused; ``undo`` then takes the request back."""

    news: bool = False
    gone_networks: frozenset[str] = frozenset()
    gone_taps: frozenset[str] = frozenset()
    check: Callable[[Outcome], None] | None = None
    undo: Callable[[], Intake] | None = None


NOTHING = Intake()
_MAY_REFUSE = {("qemu", "prepare"), ("qemu", "start"), ("network", "start")}


def may_refuse(request: Request) -> bool:
    """Whether the asker can be told no without harm to a running guest."""
    if request.verb in ("qemu", "network"):
        return len(request.arguments) < 2 or (request.verb, request.arguments[1]) in _MAY_REFUSE
    return request.verb != "ifdown"


def accept(store: Store, request: Request, taps: Path = TAPS) -> Intake:
    """Take a request into the store. Raises InputError or WorldError."""
    match request.verb:
        case "network":
            return _network(store, *_hook_arguments(request), request.payload)
        case "qemu":
            return _qemu(store, *_hook_arguments(request), request.payload)
        case "ifup":
            return _ifup(store, request, taps)
        case "ifdown":
            return _ifdown(store, request)
        case "apply":
            return _apply(store, taps)
    raise InputError(f"{names.shown(request.verb)} is no request that vnetd knows")


def _hook_arguments(request: Request) -> tuple[str, str]:
    if len(request.arguments) < 2:
        raise InputError("a hook is called as NAME OPERATION SUB-OPERATION EXTRA, with XML on standard input")
    return request.arguments[0], request.arguments[1]


def _network(store: Store, name: str, operation: str, payload: bytes) -> Intake:
    hook = read_network_hook(payload)
    if hook.name != name:
        raise InputError(f"the hook was called for network {names.shown(name)} and given the XML of {names.shown(hook.name)}")
    if operation == "stopped":
        store.drop(Kind.NETWORK, hook.uuid)
        return Intake(True, gone_networks=frozenset({hook.uuid})) if hook.ours else NOTHING
    if not hook.ours:
        return NOTHING
    if operation == "start":
        # Read before it is kept, so that what cannot be read refuses the start and leaves no trace.
        network = read_network(hook.network)
        store.put(Kind.NETWORK, hook.uuid, hook.network)
        return Intake(True, check=lambda outcome: _check_network(outcome, network), undo=lambda: _forget_network(store, hook.uuid))
    # libvirt shows hooks the definition that the network runs with ("updated": has run with from now on); a newer one may be in force.
    news = store.put_network(hook.uuid, hook.network)
    if operation in ("port-created", "port-deleted") and hook.port is not None:
        news |= _network_port(store, operation, hook.port)
    return Intake(news)


def _network_port(store: Store, operation: str, data: bytes) -> bool:
    entry = Entry(Kind.PORT, "", data, 0)
    if not isinstance(entry.value, Nic) or entry.value.portid is None:
        raise InputError(str(entry.value))
    if operation == "port-created":
        return store.put(Kind.PORT, entry.value.portid, data)
    return store.drop(Kind.PORT, entry.value.portid)


def _forget_network(store: Store, uuid: str) -> Intake:
    store.drop(Kind.NETWORK, uuid)
    return Intake(True, gone_networks=frozenset({uuid}))


def _check_network(outcome: Outcome, network: Network) -> None:
    """The bridge must be there, and nothing the XML asks for may have failed."""
    for problem in outcome.problems_of("network", (network.name, network.uuid)):
        if not problem.soft:
            raise WorldError(f"network {network.name}: {problem.text}")
    if outcome.desired.homes.get(network.name) not in outcome.observed.rows.bridges:
        raise WorldError(f"network {network.name}: its bridge {network.bridge} could not be made; see vnetctl status")


def _qemu(store: Store, name: str, operation: str, payload: bytes) -> Intake:
    if operation not in ("prepare", "start", "stopped", "release", "reconnect", "attach"):
        return NOTHING  # started, migrate and restore change nothing here, and must print nothing: libvirt would take it for XML.
    reading = read_domain(payload)
    domain = reading.domain
    if domain.name != name:
        raise InputError(f"the hook was called for guest {names.shown(name)} and given the XML of {names.shown(domain.name)}")
    if not domain.uuid:
        raise InputError(f"guest {names.shown(name)} has no <uuid>; libvirt gives one, so this is not libvirt's XML")
    if operation in ("stopped", "release"):
        return Intake(store.drop(Kind.DOMAIN, domain.uuid))
    if operation in ("prepare", "start"):
        _refuse_bad_nics(store, reading)
    if operation == "prepare":
        return NOTHING
    news = store.put(Kind.DOMAIN, domain.uuid, payload)
    if operation == "start":
        taps = _taps_of(store, reading)
        return Intake(
            bool(taps),
            check=lambda outcome: _check_ports(outcome, taps),
            undo=lambda: Intake(store.drop(Kind.DOMAIN, domain.uuid)),
        )
    return Intake(news)


def _refuse_bad_nics(store: Store, reading: DomainReading) -> None:
    networks = store.networks()
    for error in reading.errors(Concerned(networks)):
        raise InputError(f"guest {names.shown(reading.domain.name)}: {error}")
    by_name = {network.name: network for network in networks}
    for nic in reading.domain.nics:
        network = by_name.get(nic.network or "")
        if network is None or nic.portgroup is None:
            continue
        groups = [group.name for group in network.portgroups if group.name not in store.outgoing(network.name)]
        if nic.portgroup not in groups:
            known = ", ".join(groups) or "none"
            raise InputError(
                f"guest {names.shown(reading.domain.name)}: <source portgroup={names.shown(nic.portgroup)}>: "
                f"network {network.name} has no such portgroup; it has {known}"
            )


def _taps_of(store: Store, reading: DomainReading) -> list[IfName]:
    concerned = Concerned(store.networks())
    taps = {str(tap) for tap in store.taps()}
    return [nic.tap for nic in reading.domain.nics if nic.tap and (concerned(nic.network, nic.bridge) or nic.tap in taps)]


def _is_closed(outcome: Outcome, tap: str) -> bool:
    """Whether nothing passes at a port because its MAC is unknown: other notices are no reason to refuse a guest."""
    facts = outcome.desired.guests.get(tap)
    return facts is not None and facts.mac is None and facts.guard is not Guard.NONE


def _check_ports(outcome: Outcome, taps: Sequence[IfName]) -> None:
    """Every port must be there, numbered by the switch, with its flows in place: the guest runs next."""
    problems = outcome.problems_of("port", taps)
    closed = [problem for problem in problems if problem.soft and _is_closed(outcome, problem.name)]
    for problem in (*(problem for problem in problems if not problem.soft), *closed):
        raise WorldError(f"port {problem.name}: {problem.text}")
    for tap in taps:
        if tap not in outcome.observed.host.links:
            raise WorldError(f"port {tap}: its tap device is not there")
        seen = outcome.observed.rows.ports.get(tap)
        port = outcome.desired.ports.get(tap)
        if port is None or seen is None or not seen.ofport or not seen.live or outcome.left.touches(tap, port.bridge, seen.ofport):
            raise WorldError(f"port {tap}: it could not be wired; see vnetctl status")


def _ifup(store: Store, request: Request, taps: Path) -> Intake:
    tap, called_as = _tap_arguments(request)
    argv = [piece.decode(errors="replace") for piece in request.payload.split(b"\0") if piece]
    data = _tap_xml(store, tap, called_as, taps)
    nic = read_interface(data, tap)
    network = _network_of(store, nic)
    mac = nic.mac
    if mac is None:
        mac = mac_of(argv, tap, called_as) if is_qemu(argv) else None
        if mac is None and is_qemu(argv) and effective_policy(nic, network.portgroup(nic.portgroup), network).guard is not Guard.NONE:
            raise InputError(f"{tap}: its MAC is unknown; write mac=… on QEMU's -device for it, or <mac address='…'/> in {taps}/{tap}.xml")
    store.put(Kind.TAP, tap, as_kept(data, mac, _ifindex(tap)))
    # Under libvirt (<interface type='ethernet'>) the MAC comes with the qemu hook, a moment later, and the port is closed until then.
    late_mac = nic.mac is None and not is_qemu(argv)

    def check(outcome: Outcome) -> None:
        closed = all(one.soft for one in outcome.problems_of("port", (tap,)))
        if late_mac and closed and tap in outcome.observed.host.links:
            return
        _check_ports(outcome, [tap])

    return Intake(True, check=check, undo=lambda: _forget_tap(store, tap))


def _ifindex(tap: IfName) -> int | None:
    try:
        return socket.if_nametoindex(tap)
    except OSError:
        return None


def _tap_arguments(request: Request) -> tuple[IfName, str]:
    if len(request.arguments) != 2:
        raise InputError("write the tap's name as the only argument, as QEMU does")
    return names.ifname(request.arguments[0], "argument 1"), request.arguments[1]


def _tap_xml(store: Store, tap: IfName, called_as: str, taps: Path) -> bytes:
    path = taps / f"{tap}.xml"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror}") from None
    prefix, _, rest = called_as.partition("ovs-ifup-")
    if prefix or not rest:
        raise InputError(
            f"{tap}: nothing says where it belongs; write {path} with an <interface>, "
            "or call the script by a link named ovs-ifup-NETWORK or ovs-ifup-NETWORK@PORTGROUP"
        )
    network, _, portgroup = rest.partition("@")
    return interface_text(names.label(network, "the script's name"), portgroup or None, None)


def _network_of(store: Store, nic: Nic) -> Network:
    active = store.networks()
    for network in active:
        if network.name == nic.network or (nic.network is None and network.bridge == nic.bridge):
            if nic.portgroup is not None and network.portgroup(nic.portgroup) is None:
                known = ", ".join(group.name for group in network.portgroups) or "none"
                raise InputError(f"{nic.tap}: network {network.name} has no portgroup {names.shown(nic.portgroup)}; it has {known}")
            return network
    wanted = nic.network or nic.bridge or ""
    known = ", ".join(sorted(network.name for network in active)) or "none"
    raise WorldError(f"{nic.tap}: no network {names.shown(wanted)} of vnetd's is active on this host (active: {known}); virsh net-start it")


def _forget_tap(store: Store, tap: IfName) -> Intake:
    store.drop(Kind.TAP, tap)
    return Intake(True, gone_taps=frozenset({tap}))


def _ifdown(store: Store, request: Request) -> Intake:
    return _forget_tap(store, _tap_arguments(request)[0])


def reread_taps(store: Store, taps: Path) -> list[str]:
    """Take over what taps' own files say now, which may have been edited since their scripts ran.

    A bad one changes nothing; what is wrong with it is returned.
    """
    faults = []
    for name in store.taps():
        path = taps / f"{name}.xml"
        try:
            data = path.read_bytes()
            nic = read_interface(data, names.ifname(name, "tap"))
        except FileNotFoundError:
            continue
        except (OSError, InputError) as error:
            faults.append(f"{path}: {error}")
            continue
        entry = store.get(Kind.TAP, name)
        old = entry.value if entry and isinstance(entry.value, Nic) else nic
        store.put(Kind.TAP, name, as_kept(data, nic.mac or old.mac, old.ifindex))
    return faults


def _apply(store: Store, taps: Path) -> Intake:
    faults = reread_taps(store, taps)

    def check(outcome: Outcome) -> None:
        if faults:
            raise InputError("; ".join(faults))
        if grave := [str(problem) for problem in outcome.problems if not problem.soft]:
            raise WorldError("; ".join(grave))

    return Intake(True, check=check)
