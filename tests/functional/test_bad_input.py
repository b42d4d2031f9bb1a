"""Nonsense at every door of a real host: one plain sentence, the right status, and nothing changed."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from labkit.guest import GuestSpec, domain_xml
from world import World

HOOKS = "/etc/libvirt/hooks"
NOSUCH = (
    "<hookData><network><name>n1</name><uuid>11111111-1111-4111-8111-111111111111</uuid>"
    "<metadata><v:network xmlns:v='urn:vnetd:network:1'><v:nosuch/></v:network></metadata></network></hookData>"
)

SLOW = """
import socket, sys
clients = [socket.socket(socket.AF_UNIX) for _ in range(40)]
for client in clients:
    client.connect('/run/vnetd/control.sock')
    client.send(bytes(3))
print('begun', flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize(
    ("hook", "arguments", "payload", "status"),
    [
        ("qemu", "a1 start begin -", "", 2),
        ("qemu", "a1 start begin -", "<domain><name>a1", 2),
        ("qemu", "a1 prepare begin -", "<!DOCTYPE domain [<!ENTITY e 'x'>]><domain><name>a&e;1</name></domain>", 2),
        ("qemu", "other prepare begin -", "<domain><name>a1</name><uuid>11111111-1111-4111-8111-111111111111</uuid></domain>", 2),
        ("qemu", "a1 reconnect begin -", "nonsense", 0),
        ("qemu", "a1 stopped end -", "", 0),
        ("qemu", "a1 release end -", "<a/>", 0),
        ("qemu", "", "", 2),
        ("network", "n1 start begin -", "<hookData xmlns:v='urn:vnetd:network:1'/>", 2),
        ("network", "n1 start begin -", NOSUCH, 2),
        ("network", "n1 port-created begin -", "<hookData xmlns:v='urn:vnetd:network:1'/>", 0),
        ("network", "default start begin -", "<hookData><network><name>default</name></network></hookData>", 0),
    ],
)  # fmt: skip
def test_a_hook_given_nonsense(world: World, hook: str, arguments: str, payload: str, status: int, daemon: bool) -> None:
    rows, flows = world.rows("hv1"), world.flows("hv1")
    if not daemon:
        world.stop_daemon("hv1")
    try:
        began = time.monotonic()
        done = world.attempt("hv1", *[f"{HOOKS}/{hook}.d/vnetd", *arguments.split()], stdin=payload)
        took = time.monotonic() - began
    finally:
        if not daemon:
            world.on("hv1", "/run/start-vnetd")
    assert done.returncode == status, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == (1 if status else 0), done.stderr
    assert took < 5
    assert (world.rows("hv1"), world.flows("hv1")) == (rows, flows)


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        ("no such portgroup", "portgroup='vlan-10'", "portgroup='nosuch'"),
        ("is not the address of one NIC", "52:54:00:dd:dd:dd", "00:00:00:00:00:00"),
        (
            "is not a number from 1 to 4094",
            "<virtualport type='openvswitch'/>",
            "<virtualport type='openvswitch'/><vlan><tag id='4095'/></vlan>",
        ),
        ("has no attribute", "<metadata></metadata>", "<metadata><v:domain xmlns:v='urn:vnetd:domain:1' guard='x'/></metadata>"),
    ],
)
def test_a_guest_that_cannot_be_wired_is_refused_before_it_runs(world: World, words: str, old: str, new: str) -> None:
    text = domain_xml(GuestSpec("d1", "blue", "vlan-10", mac="52:54:00:dd:dd:dd")).replace('"', "'")
    assert old in text
    world.on("hv1", "tee", "/run/d1.xml", stdin=text.replace(old, new))
    done = world.attempt("hv1", "virsh -q create /run/d1.xml")
    assert done.returncode != 0
    assert words in done.stderr, done.stderr
    assert "d1" not in world.on("hv1", "virsh -q list --name")


def test_one_bad_guest_does_not_hold_others_up(world: World) -> None:
    """A NIC on somebody else's network may be as strange as it likes."""
    text = domain_xml(GuestSpec("d2", "blue", "vlan-10", mac="52:54:00:dd:dd:d2", mtu=1400))
    strange = "<interface type='ethernet'><mac address='52:54:00:ee:ee:ee'/><target dev='x-strange'/></interface>"
    world.on("hv1", "tee", "/run/d2.xml", stdin=text.replace("<serial type='file'>", strange + "<serial type='file'>", 1))
    world.on("hv1", "virsh -q create /run/d2.xml")
    try:
        assert world.port_of("hv1", "d2")["state"] == "up"
    finally:
        world.on("hv1", "virsh -q destroy d2")


def test_a_slow_client_of_the_control_socket_costs_nobody_else(world: World) -> None:
    """Forty clients begin a message and say no more; while they hang, the daemon itself answers another."""
    command = world.lab.command("hv1", ["python3", "-c", SLOW])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "begun\n"
        answer = json.loads(world.on("hv1", "timeout 5 vnetctl status --json"))
    assert answer["daemon"]["pid"] > 0
    assert slow.returncode == 0
