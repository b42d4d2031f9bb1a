"""What the data plane can do: as Open vSwitch prints it, asked once, and what is said where something lacks."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from fakes import FakeHost
from intents import BLUE, HV1, MESH, nic, wanted, words
from openflow_switch import FakeSwitch

from vnetd.adapters import appctl, dataplane, scratch
from vnetd.adapters.dataplane import DataPlanes, read_features, read_threads
from vnetd.errors import Unavailable
from vnetd.model.dataplane import DataPlane
from vnetd.model.network import Inventory, OverlayType, Peer, Vlan, VlanMode
from vnetd.reconcile import look, reconcile
from vnetd.status import as_text, report

FEATURES = """Masked set action: Yes
Check pkt length action: Yes
Max dp_hash algorithm: 0
Max VLAN headers: 2
CT state NAT: No
"""
UPCALLS = """netdev@ovs-netdev:
  flows         : (current 0) (avg 0) (max 0) (limit 10000)
  ufid enabled : true

  7: (keys 0)
system@ovs-system:
  flows         : (current 4) (avg 2) (max 9) (limit 10000)
  ufid enabled : true

  1: (keys 3)
  2: (keys 1)
"""
KERNEL = DataPlane(
    "system",
    "3.1.0",
    "6.1.176",
    "in-tree",
    read_features(FEATURES),
    200000,
    2,
    dict.fromkeys(("gretap", "ip6gretap", "vxlan", "geneve", "ifb"), True),
    dict.fromkeys(("clsact", "cls_bpf", "act_gact", "act_csum", "act_mirred"), True),
)
SIX = tuple(Peer(f"hv{one}", ip_address(f"2001:db8::{one}")) for one in (11, 12))


class FakeVswitchd(threading.Thread):
    """A control socket, which answers each question by JSON-RPC as ovs-vswitchd does, in two pieces."""

    def __init__(self, rundir: Path, pid: int, answers: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.answers = answers
        self.asked: list[str] = []
        (rundir / "ovs-vswitchd.pid").write_text(f"{pid}\n")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(rundir / f"ovs-vswitchd.{pid}.ctl"))
        self.listener.listen()
        self.start()

    def run(self) -> None:
        while True:
            client, _ = self.listener.accept()
            with client:
                question = json.loads(client.recv(4096))
                self.asked.append(" ".join([question["method"], *question["params"]]))
                known = question["method"] in self.answers
                result = self.answers.get(question["method"])
                error = None if known else f'"{question["method"]}" is not a valid command'
                reply = json.dumps({"id": question["id"], "result": result, "error": error}).encode()
                client.sendall(reply[:9])
                client.sendall(reply[9:])


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., FakeVswitchd]:
    """Start an ovs-vswitchd of this number whose one bridge is br-blue."""
    bridge = FakeSwitch(tmp_path / "br-blue.mgmt")
    bridge.room = 4711

    def new(pid: int, **answers: str) -> FakeVswitchd:
        usual = {"version": "ovs-vswitchd (Open vSwitch) 3.1.0\n", "dpif/show-dp-features": FEATURES, "upcall/show": UPCALLS}
        return FakeVswitchd(tmp_path, pid, usual | {name.replace("_", "/"): text for name, text in answers.items()})

    return new


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of the machine that runs this is not asked."""
    monkeypatch.setattr(scratch, "kernel_links", lambda rtnl: {"gretap": True, "ip6gretap": False})
    monkeypatch.setattr(scratch, "kernel_tc", lambda rtnl, bridge: {"clsact": True})


def test_what_open_vswitch_prints_is_read() -> None:
    assert read_features(FEATURES)["CT state NAT"] == "No"
    assert KERNEL.has("Check pkt length action") is True
    assert KERNEL.has("CT state NAT") is False
    assert KERNEL.has("Flying") is None
    assert KERNEL.tags == 2


def test_the_threads_of_each_data_plane_are_counted_apart() -> None:
    assert read_threads(UPCALLS, "system") == 2
    assert read_threads(UPCALLS, "netdev") == 1
    assert read_threads(UPCALLS.replace("  1: (keys 3)\n  2: (keys 1)\n", ""), "system") == 0
    assert read_threads("", "system") is None


def test_it_is_asked_once_for_each_run_of_ovs_vswitchd(tmp_path: Path, start: Callable[..., FakeVswitchd]) -> None:
    first, planes = start(11), DataPlanes(tmp_path)
    found = planes.of("br-blue", "system")
    assert (found.switch, found.meters, found.threads, found.links["ip6gretap"]) == ("3.1.0", 4711, 2, False)
    assert "dpif/show-dp-features br-blue" in first.asked
    asked = len(first.asked)
    planes.forget()
    assert planes.of("br-blue", "system") is found
    assert len(first.asked) == asked
    start(12, version="ovs-vswitchd (Open vSwitch) 3.5.0\n")
    assert planes.of("br-blue", "system").switch == "3.5.0"


def test_a_lack_of_threads_is_looked_at_again_before_it_is_believed(
    tmp_path: Path, start: Callable[..., FakeVswitchd], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for its flows to be put back it has none either."""
    switch, planes = start(11, upcall_show="system@ovs-system:\n  ufid enabled : true\n\n"), DataPlanes(tmp_path)
    assert planes.of("br-blue", "system").threads is None
    monkeypatch.setattr(dataplane, "IDLE_SECONDS", 0)
    assert not planes.of("br-blue", "system").deaf
    planes.forget()
    assert planes.of("br-blue", "system").deaf
    switch.answers["upcall/show"] = UPCALLS
    assert planes.of("br-blue", "system").deaf, "not without a reason"
    planes.forget()
    assert not planes.of("br-blue", "system").deaf


def test_a_question_that_a_version_does_not_know_leaves_it_unknown(tmp_path: Path, start: Callable[..., FakeVswitchd]) -> None:
    switch = start(11)
    del switch.answers["upcall/show"], switch.answers["dpif/show-dp-features"]
    found = DataPlanes(tmp_path).of("br-blue", "system")
    assert (found.threads, found.features, found.deaf) == (None, {}, False)


def test_nobody_who_answers_is_no_fault_and_is_asked_again(tmp_path: Path, start: Callable[..., FakeVswitchd]) -> None:
    planes = DataPlanes(tmp_path)
    assert planes.of("br-blue", "system") == DataPlane()
    (tmp_path / "ovs-vswitchd.pid").write_text("10\n")
    assert planes.of("br-blue", "system") == DataPlane()
    with pytest.raises(Unavailable, match="does not answer at"):
        appctl.ask(tmp_path, "version")
    start(11)
    assert planes.of("br-blue", "system").kind == "system"


# What is said.


@pytest.fixture
def here(host: FakeHost) -> FakeHost:
    host.addresses, host.plane = {HV1, SIX[0].address}, KERNEL  # type: ignore[assignment]
    return host


def told(host: FakeHost, network: object, *nics: object) -> str:
    """All problems once the network runs."""
    for one in nics:
        host.link_comes(one.tap)  # type: ignore[attr-defined]
    inventory = Inventory((network,), nics, complete=True)  # type: ignore[arg-type]
    reconcile(inventory, host.rim())
    return words(look(inventory, host.rim())[0])


def test_nothing_is_said_where_nothing_lacks_or_nobody_knows(here: FakeHost) -> None:
    mesh = replace(BLUE, overlay=replace(MESH, peers=SIX))
    assert told(here, mesh, nic()) == ""
    here.plane = DataPlane()
    assert told(here, mesh, nic()) == ""


def test_an_overlay_that_the_kernel_cannot_have_is_named(here: FakeHost) -> None:
    here.plane = replace(KERNEL, links={"gretap": True, "ip6gretap": False, "vxlan": True, "geneve": False})
    text = told(here, replace(BLUE, overlay=replace(MESH, peers=SIX)))
    assert "network blue: its <vnet:overlay type='gre'> goes over IPv6" in text
    assert "write type='vxlan' there" in text
    assert told(here, replace(BLUE, overlay=MESH)) == "", "over IPv4 it has all that is needed"


def test_frames_that_cannot_be_measured_are_told_of(here: FakeHost) -> None:
    here.plane = replace(KERNEL, features={"Check pkt length action": "No"})
    desired = wanted(here, replace(BLUE, overlay=MESH))
    assert desired.problems == ()
    reconcile(Inventory((replace(BLUE, overlay=MESH),), complete=True), here.rim())
    (problem,) = look(Inventory((replace(BLUE, overlay=MESH),), complete=True), here.rim())[0].problems
    assert (problem.kind, problem.name, problem.soft) == ("network", "blue", True)
    assert "check_pkt_len" in problem.text


def test_limits_without_meters_are_named_with_their_elements(here: FakeHost) -> None:
    here.plane = replace(KERNEL, meters=0)
    text = told(here, BLUE, nic())
    assert "port vnet1: the data plane has no meters" in text
    assert "flood='none' neighbour='none'" in text


def test_qinq_needs_two_tags(here: FakeHost) -> None:
    here.plane = replace(KERNEL, features={"Max VLAN headers": "1"})
    assert "port vnet1: the data plane knows only 1 VLAN tag" in told(here, BLUE, nic(vlan=Vlan(VlanMode.DOT1Q_TUNNEL, 5)))
    assert told(here, BLUE, nic(vlan=Vlan(VlanMode.ACCESS, 5))) == ""


def test_an_ovs_vswitchd_that_takes_no_packets_is_told_of(here: FakeHost) -> None:
    here.plane = replace(KERNEL, threads=0)
    assert "switch ovs-vswitchd: it has no threads that take packets" in told(here, BLUE)
    here.plane = replace(KERNEL, kind="netdev", threads=0)
    assert told(here, BLUE) == "", "the userspace data plane needs none"


def test_status_has_it_in_a_line_and_whole(here: FakeHost) -> None:
    here.plane = replace(KERNEL, links={**KERNEL.links, "ip6gretap": False})
    inventory = Inventory((replace(BLUE, overlay=replace(MESH, type=OverlayType.VXLAN)),), complete=True)
    reconcile(inventory, here.rim())
    found = json.loads(json.dumps(report(*look(inventory, here.rim()))))
    assert found["dataplane"]["lacks"] == {"ip6gretap": "no GRE over IPv6"}
    assert found["dataplane"]["features"]["Max VLAN headers"] == "2"
    line = "Open vSwitch 3.1.0 on the kernel's data plane (Linux 6.1.176): lacks ip6gretap (no GRE over IPv6)"
    assert as_text(found).splitlines()[1] == line


def test_status_before_there_is_a_bridge_has_none(here: FakeHost) -> None:
    assert report(*look(Inventory(complete=True), here.rim()))["dataplane"] is None
