"""Ports that come and go leave nothing behind: no row, no meter, no flow, no file, however often."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from labkit.guest import GuestSpec, interface_xml
from labs import started_lab
from world import World

CYCLES, HOTPLUGS, HASTY = 100, 10, 20

NETWORK = """<network><name>cycles</name>
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>
    <vnet:qos pps='5000'/>
    <vnet:portgroup name='pool'>
      <vnet:aggregate><vnet:inbound average='2000'/><vnet:outbound average='2000'/></vnet:aggregate>
    </vnet:portgroup>
  </vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-cycles'/><virtualport type='openvswitch'/>
  <portgroup name='pool'><vlan><tag id='10'/></vlan></portgroup>
  <portgroup name='plain' default='yes'><vlan><tag id='10'/></vlan></portgroup>
</network>"""

BANDWIDTH = "<bandwidth><inbound average='1000' peak='1500' burst='64'/><outbound average='1000'/></bandwidth>"
TAP = f"""<interface type='network'><mac address='52:54:00:c7:00:01'/><source network='cycles' portgroup='pool'/>{BANDWIDTH}
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:qos pps='300' dscp='10'/></vnet:interface>
</interface>"""

LOOP = """set -e
others=$(ovs-ofctl -O OpenFlow14 dump-meters br-cycles | grep -c meter=) || true
for number in $(seq {count}); do
  tap=cyc$((number % 7))
  ip tuntap add $tap mode tap
  /etc/vnetd/ovs-ifup $tap
  [ "$(ovs-vsctl get port $tap qos)" != "[]" ] || {{ echo "cycle $number: no limit toward it"; exit 1; }}
  [ "$(ovs-ofctl -O OpenFlow14 dump-meters br-cycles | grep -c meter=)" -gt $others ] || {{ echo "cycle $number: no meter"; exit 1; }}
  /etc/vnetd/ovs-ifdown $tap
  ip link del $tap
done"""
"""Names come again, as libvirt's do."""


@pytest.fixture(scope="module")
def cycling() -> Iterator[World]:
    """A hypervisor whose only guest has a limit of its own, which all of this must leave alone."""
    with started_lab("p", 1, NETWORK) as world:
        for number in range(7):
            world.on("hv1", "tee", f"/etc/vnetd/taps/cyc{number}.xml", stdin=TAP)
        world.guest("hv1", GuestSpec("stays", "cycles", "pool"))
        yield world
        world.assert_settled("hv1")


def test_a_hundred_taps_leave_nothing(cycling: World) -> None:
    before = everything(cycling)
    cycling.lab.run("hv1", "bash", "-c", LOOP.format(count=CYCLES), timeout=300)
    await_as(cycling, before)


def test_ten_hot_plugged_nics_leave_nothing(cycling: World) -> None:
    nic = interface_xml(GuestSpec("stays", "cycles", "pool", mac="52:54:00:c7:00:02")).replace("<model", f"{BANDWIDTH}<model")
    cycling.on("hv1", "tee", "/run/nic.xml", stdin=nic)
    before = everything(cycling)
    for _ in range(HOTPLUGS):
        cycling.on("hv1", "virsh -q attach-device stays /run/nic.xml --live")
        cycling.until(lambda: len(cycling.status("hv1")["ports"]) == 2, 10, "the NIC's port is wired")
        cycling.until(lambda: "rate=8000" in meters(cycling), 10, "its meter is there")
        cycling.until(lambda: cycling.inside("stays", "test -e /sys/class/net/eth1")[0] == 0, 10, "the NIC in the guest")
        cycling.on("hv1", "virsh -q detach-device stays /run/nic.xml --live")
        cycling.until(lambda: cycling.inside("stays", "test -e /sys/class/net/eth1")[0] != 0, 10, "the NIC is out")
    await_as(cycling, before)


HASTE = """
nic() {{ virsh -q domiflist stays | grep -i 52:54:00:c7:00:02; }}
for number in $(seq {count}); do
  virsh -q attach-device stays /run/nic.xml --live || {{ echo "cycle $number"; exit 1; }}
  tap=$(nic | awk '{{print $1}}')
  [ $((number % 2)) = 0 ] || virsh -q domiftune stays $tap --inbound 500,700 --outbound 500 --live || {{ echo "cycle $number"; exit 1; }}
  for try in $(seq 20); do
    nic > /dev/null || continue 2
    virsh -q detach-device stays /run/nic.xml --live 2> /dev/null
    sleep 0.2
  done
  echo "cycle $number: the NIC stays"; exit 1
done"""
"""Nobody waits for vnetd. A guest that has not yet seen a NIC does not give it back, so it is asked again."""


def test_limited_nics_are_plugged_and_tuned_in_haste_and_leave_nothing(cycling: World) -> None:
    """libvirt writes a NIC's limit while vnetd wires its port, and neither may take the other's row away."""
    nic = interface_xml(GuestSpec("stays", "cycles", "pool", mac="52:54:00:c7:00:02")).replace("<model", f"{BANDWIDTH}<model")
    cycling.on("hv1", "tee", "/run/nic.xml", stdin=nic)
    before = everything(cycling)
    cycling.lab.run("hv1", "bash", "-c", HASTE.format(count=HASTY), timeout=300)
    await_as(cycling, before)


def await_as(world: World, before: dict[str, object]) -> None:
    """Until everything is as before, or it is clear what never will be."""
    end = time.monotonic() + 10
    while (now := everything(world)) != before and time.monotonic() < end:
        time.sleep(0.1)
    for name, was in before.items():
        assert now[name] == was, name


def meters(world: World) -> str:
    return world.on("hv1", "ovs-ofctl -O OpenFlow14 dump-meters br-cycles")


def everything(world: World) -> dict[str, object]:
    """What ports leave traces in. Rows are told by their identifiers: those that stay are the same ones."""
    tables = ("QoS", "Queue", "Port", "Interface", "Bridge")
    return {
        **{table: sorted(world.on("hv1", f"ovs-vsctl --bare --columns=_uuid list {table}").split()) for table in tables},
        "rows": world.rows("hv1"),
        "meters": sorted(meters(world).splitlines()[1:]),
        "flows": world.flows("hv1"),
        # An empty file marks for a minute that a port is gone, lest an older word of libvirt's brings it back.
        "files": world.on("hv1", "find /run/vnetd/spool /etc/vnetd -type f -size +0 | sort").split(),
        "links": world.on("hv1", "ls /sys/class/net").split(),
        "qdiscs": sorted(world.on("hv1", "tc qdisc show").splitlines()),
    }
