"""The lab's command line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from labkit import LabError
from labkit.guest import GuestSpec, run_inside, start
from labkit.hypervisor import Lab
from labkit.image import image
from labkit.shell import try_run

DESCRIPTION = """A lab of whole hypervisors on one machine, each with its own libvirtd, Open vSwitch and vnetd.

  lab up 2                                      hypervisors hv1 and hv2, in about a second
  lab exec hv1 -- virsh list                    a command on a hypervisor
  lab guest hv1 vm1 --network blue --portgroup vlan-10 --address 10.0.0.1/24
  lab run vm1 -- ping -c1 10.0.0.2              a command inside a guest, wherever it runs
  lab cut hv2 and lab mend hv2                  take hv2 off the underlay, and put it back
  lab mtu 1400                                  the underlay's MTU, the hypervisors' NICs' too
  lab status
  lab down                                      and nothing is left

hvN has the addresses 192.0.2.(10+N) and 2001:db8::(10+N) on the underlay, and a second NIC, eth1, on a trunk
that joins all hosts. --prefix (or VNETD_LAB) keeps several labs apart.
"""


def main() -> int:
    """Run one command; its exit status."""
    arguments = _parser().parse_args(_split(sys.argv[1:]))
    try:
        if os.geteuid() != 0:
            raise LabError("the lab makes namespaces; run it as root")
        lab = Lab(arguments.prefix)
        return int(arguments.action(lab, arguments) or 0)
    except LabError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1


_COMMAND: list[str] = []


def _split(argv: list[str]) -> list[str]:
    """What stands after -- is a command of its own, with options that are not the lab's."""
    if "--" in argv:
        at = argv.index("--")
        _COMMAND[:] = argv[at + 1 :]
        return argv[:at]
    return argv


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", default=os.environ.get("VNETD_LAB", "lab"), help="the lab's name (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start hypervisors; those that run are left as they are")
    up.add_argument("count", type=int)
    up.add_argument("--no-daemon", action="store_true", help="install vnetd, but do not start it")
    up.add_argument("--mtu", type=int, default=1500, help="of the hypervisors' NICs on the underlay (default: %(default)s)")
    up.set_defaults(action=_up)
    for name, words, action in (("cut", "take a hypervisor off the underlay", _cut), ("mend", "put it back", _mend)):
        wire = commands.add_parser(name, help=words)
        wire.add_argument("host")
        wire.set_defaults(action=action)
    mtu = commands.add_parser("mtu", help="change the underlay's MTU")
    mtu.add_argument("size", type=int)
    mtu.add_argument("--path-only", action="store_true", help="between the hypervisors, but not of their NICs")
    mtu.set_defaults(action=_mtu)
    run = commands.add_parser("exec", help="run a command on a hypervisor")
    run.add_argument("host")
    run.set_defaults(action=_exec)
    guest = commands.add_parser("guest", help="define and start a guest, and wait until it is up")
    guest.add_argument("host")
    guest.add_argument("name")
    guest.add_argument("--network", required=True)
    guest.add_argument("--portgroup")
    guest.add_argument("--mac")
    guest.add_argument("--address", action="append", default=[], metavar="A/LEN", help="an address on eth0; may stand several times")
    guest.add_argument("--vlan", action="append", default=[], metavar="ID:A/LEN", help="a tagged interface inside the guest, for a trunk")
    guest.add_argument("--mtu", type=int, metavar="BYTES", help="<mtu size='…'/> in the guest's XML")
    guest.set_defaults(action=_guest)
    inside = commands.add_parser("run", help="run a command inside a guest")
    inside.add_argument("name")
    inside.add_argument("--timeout", type=float, default=60)
    inside.set_defaults(action=_run)
    commands.add_parser("status", help="what runs").set_defaults(action=_status)
    commands.add_parser("image", help="make the guests' kernel and initramfs").set_defaults(action=_image)
    commands.add_parser("down", help="end the lab and leave nothing behind").set_defaults(action=_down)
    return parser


def _up(lab: Lab, arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.count <= 99:
        raise LabError("a lab has 1 to 99 hypervisors")
    with lab.locked():
        lab.up(arguments.count, daemon=not arguments.no_daemon, mtu=arguments.mtu)


def _cut(lab: Lab, arguments: argparse.Namespace) -> None:
    lab.root(arguments.host)
    lab.cut(arguments.host)


def _mend(lab: Lab, arguments: argparse.Namespace) -> None:
    lab.root(arguments.host)
    lab.mend(arguments.host)


def _mtu(lab: Lab, arguments: argparse.Namespace) -> None:
    lab.set_mtu(arguments.size, arguments.path_only)


def _exec(lab: Lab, arguments: argparse.Namespace) -> int:
    if not _COMMAND:
        raise LabError("write the command after --")
    return subprocess.run(lab.command(arguments.host, _COMMAND), check=False).returncode


def _guest(lab: Lab, arguments: argparse.Namespace) -> None:
    given = (arguments.name, arguments.network, arguments.portgroup, arguments.mac, arguments.address, arguments.vlan)
    spec = GuestSpec(*given, mtu=arguments.mtu)
    start(lab, arguments.host, spec)


def _run(lab: Lab, arguments: argparse.Namespace) -> int:
    if not _COMMAND:
        raise LabError("write the command after --")
    status, output, errors = run_inside(lab, arguments.name, _COMMAND, arguments.timeout)
    sys.stdout.buffer.write(output)
    sys.stderr.buffer.write(errors)
    return status


def _status(lab: Lab, arguments: argparse.Namespace) -> int:
    for name in lab.names():
        if not lab.alive(name):
            print(f"{name}  dead")
            continue
        guests = try_run(*lab.command(name, ["virsh", "-q", "list", "--name"])).split()
        daemon = "runs" if try_run(*lab.command(name, ["pgrep", "-x", "vnetd"])).strip() else "does not run"
        print(f"{name}  up  vnetd {daemon}  guests: {' '.join(guests) or 'none'}")
    if not lab.names():
        print(f"no hypervisors in lab {lab.prefix}")
    return 0


def _image(lab: Lab, arguments: argparse.Namespace) -> None:
    for path in image():
        print(path)


def _down(lab: Lab, arguments: argparse.Namespace) -> None:
    with lab.locked():
        lab.down()
