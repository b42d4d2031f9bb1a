"""What the sources last said, kept as text in ``/run/vnetd/spool`` so that any process can go on from it.

Strategy: one file an entry, named by UUID (taps by their checked name), never by a
foreign name. A hook writes what it was told; the daemon adds what libvirt lists.
Each entry knows when it was said, so a listing that began before a hook spoke
does not overrule the hook; what is gone is remembered for a while, for the same
reason. On disk only one such memory is kept, as an empty file: a port that was
unplugged while its guest's XML, as a hook left it, still has it. ``/run`` is emptied at boot, and so is this: the next boot's guests meet
nothing of the last one's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from vnetd.errors import InputError, WorldError
from vnetd.model import names
from vnetd.model.names import Mac
from vnetd.model.network import Inventory, Network, Nic, Problem
from vnetd.xmlread import (
    OUTGOING,
    DomainReading,
    Followed,
    Groups,
    NicExtras,
    as_running,
    followed_in,
    groups_of,
    in_force,
    is_vnetd_network,
    read_domain,
    read_interface,
    read_network,
    read_network_port,
    with_follows,
)

SPOOL = Path("/run/vnetd/spool")
FORGET_SECONDS = 60
"""How long a gone entry is remembered: longer than any listing takes."""


class Kind(StrEnum):
    """What an entry is about; also the name of its folder."""

    NETWORK = "networks"
    DOMAIN = "domains"
    PORT = "ports"
    TAP = "taps"


@dataclass
class Entry:
    """One thing as it was last said, and when. Empty ``data`` means that it is gone."""

    kind: Kind
    key: str
    data: bytes
    said: float
    last_good: Entry | None = None
    """What was said before this, where this cannot be read: a typo in what runs must cut nobody off."""

    carried: tuple[Nic, ...] = ()
    """NICs of a guest whose new words cannot be read, as they were before."""

    source: tuple[bytes, ...] = ()
    """What ``data`` was made of, to know it again without reading it."""

    def carry_over(self, old: Entry) -> None:
        """Keep in force what could be read before and cannot be read now."""
        if isinstance(self.value, InputError):
            self.last_good = old.good
        elif isinstance(self.value, DomainReading) and isinstance(old.value, DomainReading):
            before = (*old.value.domain.nics, *old.carried)
            faults = self.value.faults
            self.carried = tuple(
                nic for nic in before if any((fault.tap and fault.tap == nic.tap) or fault.mac == nic.mac for fault in faults)
            )

    @property
    def good(self) -> Entry | None:
        """The entry that is in force."""
        return self.last_good if isinstance(self.value, InputError) else self

    @cached_property
    def value(self) -> Network | DomainReading | Nic | InputError:
        """The parsed value, or why there is none."""
        try:
            match self.kind:
                case Kind.NETWORK:
                    return read_network(self.data)
                case Kind.DOMAIN:
                    return read_domain(self.data)
                case Kind.PORT:
                    return read_network_port(self.data).nic
                case Kind.TAP:
                    return read_interface(self.data, names.ifname(self.key, "tap"))
        except InputError as error:
            return error

    @cached_property
    def groups(self) -> tuple[Groups, Groups]:
        """What a network says of ports: what is in force, and what its running definition says."""
        return groups_of(self.data)

    @cached_property
    def followed(self) -> list[Followed]:
        """What of a guest's NICs, or of a libvirt port, is known to follow its portgroup."""
        return followed_in(self.data)


@dataclass
class Store:
    """All entries, in memory and on disk."""

    root: Path = SPOOL
    remember: bool = True
    """Whether what is said goes to disk, too; a process that only looks leaves that alone."""
    entries: dict[tuple[Kind, str], Entry] = field(default_factory=dict)
    generation: str = "unread"
    """A word that every write to the spool changes; times are too coarse to tell two writes apart."""

    def load(self) -> None:
        """Read the spool, forgetting what is long gone. Raises WorldError when it cannot be read."""
        self.refresh()
        self._forget()

    def refresh(self) -> None:
        """Take over what another process has written meanwhile; one small file tells whether any has. Raises WorldError."""
        try:
            for kind in Kind:
                if not (self.root / kind).is_dir():
                    self._make(kind, self.root / kind)
            try:
                generation = self._generation_file.read_text(encoding="ascii")
            except FileNotFoundError:
                generation = ""
            if generation != self.generation:
                self.generation = generation
                for kind in Kind:
                    self._read(kind, self.root / kind)
        except OSError as error:
            raise WorldError(f"the spool {self.root} cannot be read: {error}") from None

    def _make(self, kind: Kind, folder: Path) -> None:
        """A folder that somebody removed says nothing about guests that run: it is written again."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in self._present(kind):
            self._write(kind, entry.key, (entry.good or entry).data)

    def _read(self, kind: Kind, folder: Path) -> None:
        found = set()
        for path in folder.glob("*.xml"):
            try:
                data, written = path.read_bytes(), path.stat().st_mtime
            except FileNotFoundError:
                continue  # Another process has dropped it meanwhile: who only looks holds no lock.
            key = path.stem
            found.add(key)
            old = self.entries.get((kind, key))
            if old is None or (old.good or old).data != data:
                self.entries[kind, key] = Entry(kind, key, data, written)
        for entry in list(self._present(kind)):
            if entry.key not in found:
                self.entries[kind, entry.key] = Entry(kind, entry.key, b"", time.time())

    def put(self, kind: Kind, key: str, data: bytes, said: float | None = None) -> bool:
        """Remember ``data``, of a network as it was just started; whether that is news."""
        old = self.get(kind, key)
        if old is not None and old.source == (data,):
            old.said = time.time() if said is None else said
            return False
        text = data
        if kind is Kind.NETWORK:
            text = in_force(data)
        elif kind in (Kind.DOMAIN, Kind.PORT):
            text = with_follows(data, self._offers(), self._memory(kind, key, data))
        news = self._put(Entry(kind, key, text, time.time() if said is None else said, source=(data,)))
        if kind is Kind.NETWORK:
            self._mark_again()
        return news

    def put_network(self, key: str, running: bytes, defined: bytes = b"", *, take: bool = False, said: float | None = None) -> bool:
        """Remember a network as it runs and, where that is known, as it is defined; whether that is news.

        ``take``: what its definition says of ports is in force from now on, as far as it has changed.
        """
        old = self.get(Kind.NETWORK, key)
        source = (running, defined)
        if old is not None and old.source == source and not take and not _goes(old):
            old.said = time.time() if said is None else said
            return False
        if old is None:
            text = in_force(running, defined=defined, take=take)
        else:
            # Without a definition vnetd's element stays what was heard last, even where that cannot be read.
            text = in_force(running, (old.good or old).data, defined or old.data, take=take and bool(defined), used=self._used(old))
        news = self._put(Entry(Kind.NETWORK, key, text, time.time() if said is None else said, source=source))
        if old is None or old.good is None:
            self._mark_again()
        return news

    def _put(self, entry: Entry) -> bool:
        old = self.entries.get((entry.kind, entry.key))
        if old is not None and old.data == entry.data:
            old.said, old.source = entry.said, entry.source
            return False
        if old is not None and old.data:
            entry.carry_over(old)
        if entry.good is not None or old is None or not old.data:
            self._write(entry.kind, entry.key, (entry.good or entry).data)
        self.entries[entry.kind, entry.key] = entry
        return True

    def _mark_again(self) -> None:
        """A network is known from now on: what of the guests' NICs follows it can be told."""
        for entry in [*self._present(Kind.DOMAIN), *self._present(Kind.PORT)]:
            text = with_follows(entry.data, self._offers(), self._memory(entry.kind, entry.key, entry.data))
            self._put(replace(entry, data=text))

    def _offers(self) -> Callable[[str], Sequence[Groups]]:
        """What each network says to its NICs, by its name."""
        entries = [entry.good for entry in self._present(Kind.NETWORK) if entry.good is not None]
        by_name = {entry.value.name: entry for entry in entries if isinstance(entry.value, Network)}
        return lambda name: by_name[name].groups if name in by_name else ()

    def _memory(self, kind: Kind, key: str, data: bytes) -> list[list[Followed]]:
        """What is known of a guest's NICs: from its own XML first, then from what libvirt has announced."""
        if kind is Kind.PORT:
            value = Entry(kind, key, data, 0).value
            key = (value.owner_uuid if isinstance(value, Nic) else None) or ""
        guest = self.get(Kind.DOMAIN, key)
        ports = (entry for entry in self._present(Kind.PORT) if isinstance(entry.value, Nic) and entry.value.owner_uuid == key)
        # A NIC whose port is gone has been unplugged, and the one that takes its place is another.
        plugged = [one for one in (guest.followed if guest else []) if one.portid is None or not self._is_gone(Kind.PORT, one.portid)]
        return [plugged, [one for entry in ports for one in entry.followed]]

    def _used(self, entry: Entry) -> dict[str, list[str]]:
        """The portgroups of a network that NICs are in, each with its guests."""
        network = _value_in_force(entry)
        found: dict[str, set[str]] = {}
        if isinstance(network, Network):
            for nic in self._nics(Concerned([network]), []):
                group = network.portgroup(nic.portgroup) if nic.network == network.name else None
                if group is not None:
                    found.setdefault(group.name, set()).add(nic.owner)
        return {name: sorted(owners) for name, owners in found.items()}

    def drop(self, kind: Kind, key: str, said: float | None = None) -> bool:
        """Remember that it is gone; whether that is news."""
        known = self.get(kind, key) is not None
        self.entries[kind, key] = Entry(kind, key, b"", time.time() if said is None else said)
        if kind is Kind.PORT and key in self._plugged():
            self._write(kind, key, b"")
        else:
            self._unlink(kind, key)
        if kind is Kind.DOMAIN:
            for entry in list(self._present(Kind.PORT)):
                if isinstance(entry.value, Nic) and entry.value.owner_uuid == key:
                    self.drop(Kind.PORT, entry.key, said)
            self._unlink_unplugged()
        return known

    def get(self, kind: Kind, key: str) -> Entry | None:
        """The entry, unless it is gone."""
        entry = self.entries.get((kind, key))
        return entry if entry and entry.data else None

    def _is_gone(self, kind: Kind, key: str) -> bool:
        """Whether it is known to be gone; what was never heard of is not."""
        entry = self.entries.get((kind, key))
        return entry is not None and not entry.data

    def sync(
        self,
        began: float,
        networks: Mapping[str, bytes],
        domains: Mapping[str, bytes],
        defined: Mapping[str, bytes] | None = None,
        *,
        take: bool = False,
    ) -> bool:
        """Take over a listing of libvirt's that began at ``began``; whether anything is new.

        ``networks`` are as they run; ``take``: what they are ``defined`` as is in force from now on.
        """
        news = False
        if began < time.time() - FORGET_SECONDS:
            return False  # So old that what has gone since is no longer remembered; another one is on its way.
        ours = {uuid: data for uuid, data in networks.items() if _is_ours(data)}
        for key, data in ours.items():
            newest = (defined or {}).get(key, b"")
            known = self.get(Kind.NETWORK, key)
            if self._older(Kind.NETWORK, key, began):
                news |= self.put_network(key, data, newest, take=take, said=began)
            elif take and known is not None and known.good is not None:
                # A hook has said something newer of how it runs, and hooks know no definitions.
                news |= self.put_network(key, as_running(known.good.data), newest, take=True, said=known.said)
        for key, data in domains.items():
            if self._older(Kind.DOMAIN, key, began):
                news |= self.put(Kind.DOMAIN, key, data, began)
        for kind, listed in ((Kind.NETWORK, ours), (Kind.DOMAIN, domains)):
            for entry in list(self._present(kind)):
                if entry.key not in listed and entry.said < began:
                    news |= self.drop(kind, entry.key, began)
        for entry in list(self._present(Kind.PORT)):
            nic = entry.value
            if entry.said < began and not (isinstance(nic, Nic) and nic.owner_uuid in domains):
                news |= self.drop(Kind.PORT, entry.key, began)
        self._forget()
        return news

    def inventory(self, complete: bool, gone_networks: frozenset[str] = frozenset(), gone_taps: frozenset[str] = frozenset()) -> Inventory:
        """Everything that is said now, as values; what cannot be read is a problem of its own."""
        problems: list[Problem] = []
        for entry in self._present(Kind.NETWORK):
            if isinstance(entry.value, InputError):
                problems.append(Problem("network", entry.key, str(entry.value)))
            problems.extend(self._kept_groups(entry))
        networks = self.networks()
        concerned = Concerned(networks)
        nics = list(self._nics(concerned, problems))
        # Of what cannot be read, and never could, nobody can say what belongs to it: nothing is pruned then.
        readable = all(entry.good is not None for kind in (Kind.NETWORK, Kind.DOMAIN) for entry in self._present(kind))
        return Inventory(tuple(networks), tuple(nics), gone_networks, gone_taps, complete and readable, tuple(problems))

    def outgoing(self, network: str) -> frozenset[str]:
        """Portgroups of the network of this name that are kept only for guests that run in them."""
        return frozenset[str]().union(*(groups.outgoing for groups in self._offers()(network)))

    def _kept_groups(self, entry: Entry) -> Iterator[Problem]:
        network = _value_in_force(entry)
        if entry.good is None or not isinstance(network, Network) or not _goes(entry.good):
            return
        used = self._used(entry)
        for name in sorted(entry.good.groups[0].outgoing & used.keys()):
            text = (
                f"its definition no longer has portgroup {names.shown(name)}, in which {', '.join(used[name])} run; for them it stays: "
                f"write <portgroup name={names.shown(name)}> again and call vnetctl apply, or shut them down"
            )
            yield Problem("network", network.name, text)

    def networks(self) -> list[Network]:
        """The networks that can be read."""
        return [value for entry in self._present(Kind.NETWORK) if isinstance(value := _value_in_force(entry), Network)]

    def taps(self) -> list[str]:
        """The taps that ovs-ifup was called for."""
        return [entry.key for entry in self._present(Kind.TAP)]

    def _nics(self, concerned: Concerned, problems: list[Problem]) -> Iterator[Nic]:
        extras: dict[str, Mapping[Mac, NicExtras]] = {}
        ports = [value for entry in self._present(Kind.PORT) if isinstance(value := _value_in_force(entry), Nic)]
        announced = {(nic.owner_uuid, nic.iface_id): nic for nic in ports}
        for entry in self._present(Kind.DOMAIN):
            reading = _value_in_force(entry)
            if isinstance(entry.value, InputError):
                name = reading.domain.name if isinstance(reading, DomainReading) else entry.key
                problems.append(Problem("guest", name, str(entry.value)))
            if not isinstance(reading, DomainReading):
                continue
            extras[reading.domain.uuid] = reading.extras
            carried = entry.carried if reading is entry.value else ()
            for own in (*reading.domain.nics, *carried):
                if own.portid is None or not self._is_gone(Kind.PORT, own.portid):
                    yield own
                elif own.iface_id and (successor := announced.get((own.owner_uuid, own.iface_id))):
                    yield _moved(own, successor)
            problems.extend(Problem("guest", reading.domain.name, str(error)) for error in reading.errors(concerned))
        for kind, word in ((Kind.PORT, "guest"), (Kind.TAP, "port")):
            for entry in self._present(kind):
                if isinstance(entry.value, InputError):
                    problems.append(Problem(word, entry.key, str(entry.value)))
                if isinstance(nic := _value_in_force(entry), Nic):
                    # An announced NIC has its guest's word on it, as it will have when it stands in the guest's XML.
                    extra = extras.get(nic.owner_uuid or "", {}).get(nic.mac) if nic.mac else None
                    yield replace(nic, policy=extra.policy, addresses=extra.addresses, qos=extra.qos) if extra else nic

    def _present(self, kind: Kind) -> Iterator[Entry]:
        return (entry for (one, _), entry in self.entries.items() if one is kind and entry.data)

    def _older(self, kind: Kind, key: str, began: float) -> bool:
        entry = self.entries.get((kind, key))
        return entry is None or entry.said < began

    def _forget(self) -> None:
        """Remove the marks of what is long gone, but not of a port that its guest's XML still has."""
        limit = time.time() - FORGET_SECONDS
        plugged = self._plugged()
        for (kind, key), entry in list(self.entries.items()):
            if not entry.data and entry.said < limit and key not in plugged:
                del self.entries[kind, key]
                self._unlink(kind, key)

    @property
    def _generation_file(self) -> Path:
        return self.root.with_name(f"{self.root.name}.generation")

    def _mark(self) -> None:
        """Let other processes know that there is something new."""
        self.generation = os.urandom(8).hex()
        self._generation_file.write_text(self.generation, encoding="ascii")

    def _plugged(self) -> set[str]:
        """The libvirt ports that stand in the guests' XML."""
        readings = (_value_in_force(entry) for entry in self._present(Kind.DOMAIN))
        return {nic.portid for one in readings if isinstance(one, DomainReading) for nic in one.domain.nics if nic.portid}

    def _unlink_unplugged(self) -> None:
        plugged = self._plugged()
        for (kind, key), entry in self.entries.items():
            if kind is Kind.PORT and not entry.data and key not in plugged:
                self._unlink(kind, key)

    def _unlink(self, kind: Kind, key: str) -> None:
        if not self.remember:
            return
        path = self.root / kind / f"{key}.xml"
        try:
            path.unlink()
            self._mark()
        except FileNotFoundError:
            return
        except OSError as error:
            raise WorldError(f"the spool {self.root} cannot be written: {error}") from None

    def _write(self, kind: Kind, key: str, data: bytes) -> None:
        if not self.remember:
            return
        folder = self.root / kind
        fresh = folder / f".{key}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh.write_bytes(data)
            fresh.replace(folder / f"{key}.xml")
            self._mark()
        except OSError as error:
            raise WorldError(f"the spool {self.root} cannot be written: {error}") from None


def _goes(entry: Entry) -> bool:
    """Whether the network's text has portgroups that stay only for as long as they are used."""
    return OUTGOING.encode() in entry.data


def _value_in_force(entry: Entry) -> Network | DomainReading | Nic | InputError | None:
    return entry.good.value if entry.good else None


def _moved(nic: Nic, port: Nic) -> Nic:
    """A NIC whose libvirt port was replaced by another, as an update of the device does."""
    moved = replace(nic, network=port.network, portgroup=port.portgroup, portid=port.portid)
    return replace(moved, vlan=port.vlan, bandwidth=port.bandwidth, settled=port.settled)


class Concerned:
    """Whether a NIC's network or bridge is one of vnetd's."""

    def __init__(self, networks: list[Network]) -> None:
        self._names = {network.name for network in networks}
        self._bridges = {str(network.bridge) for network in networks}

    def __call__(self, network: str | None, bridge: str | None) -> bool:
        return network in self._names or (network is None and bridge in self._bridges)


def _is_ours(data: bytes) -> bool:
    try:
        return is_vnetd_network(data)
    except InputError:
        return False
