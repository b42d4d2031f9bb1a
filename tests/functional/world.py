"""What the functional tests do with a lab, in the words that a user would use."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

from dataplane import chosen
from labkit import LabError
from labkit.guest import GuestSpec, run_inside, start, wait_up
from labkit.hypervisor import PROJECT, Lab
from labkit.shell import try_run

from vnetd.pipeline import MeterKind, is_learned

XML = PROJECT / "xml"


class World:
    """A lab, and what is asked of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.plane = chosen()

    def on(self, host: str, *command: str, stdin: str | None = None) -> str:
        """The output of a command on a host that must succeed; one string runs in a shell."""
        words = ("bash", "-c", command[0]) if len(command) == 1 else command
        return self.lab.run(host, *words, stdin=stdin, timeout=60 * self.plane.patience)

    def attempt(self, host: str, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command on a host that may fail."""
        words = ("bash", "-c", command[0]) if len(command) == 1 else command
        return subprocess.run(
            self.lab.command(host, words), input=stdin, capture_output=True, text=True, check=False, timeout=60 * self.plane.patience
        )

    def patiently(self, host: str, command: str) -> str:
        """The output of a command that must succeed, given again where vnetd is busy and asks for that, but not for ever."""
        for _ in range(round(self.plane.patience) - 1):
            done = self.attempt(host, command)
            if "try again" not in done.stderr:
                break
        else:
            return self.on(host, command)
        if done.returncode:
            raise LabError(f"{command}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def start_network(self, example: str, *hosts: str) -> None:
        """The same file of xml/ defined and started on every host, whose one NIC for uplinks is eth1."""
        text = (XML / example).read_text(encoding="utf-8")
        self.start_xml(re.sub(r"(<vnet:uplink dev=)'eth\d'", r"\1'eth1'", text), *hosts)

    def start_xml(self, text: str, *hosts: str) -> None:
        """The same network defined and started on every host."""
        for host in hosts:
            self.on(host, "tee", "/run/network.xml", stdin=text)
            self.on(host, "virsh -q net-define /run/network.xml")
            self.patiently(host, f"virsh -q net-start {_name_in(text)}")

    def guest(self, host: str, spec: GuestSpec, wait: bool = True) -> None:
        start(self.lab, host, spec, wait)

    def wait_up(self, *names: str) -> None:
        for name in names:
            wait_up(self.lab, name)

    def inside(self, guest: str, command: str, timeout: float = 30) -> tuple[int, str]:
        """(status, output) of a command in a guest."""
        status, output, errors = run_inside(self.lab, guest, [command], timeout)
        return status, (output + errors).decode(errors="replace")

    def pings(self, guest: str, address: str) -> bool:
        """Whether ping gets through, given three seconds for ARP and the tunnel's first frame."""
        return self.inside(guest, f"arp -d {address} 2>/dev/null; ping -c 3 -W 1 {address} > /tmp/p; grep -q ' bytes from ' /tmp/p")[0] == 0

    def tcp(self, guest: str, address: str) -> bool:
        """Whether a web page gets through."""
        return self.inside(guest, f"timeout 4 wget -qO- http://{address}/")[0] == 0

    def status(self, host: str) -> dict[str, Any]:
        found = json.loads(self.attempt(host, "vnetctl", "status", "--json").stdout)
        assert isinstance(found, dict)
        return found

    def tunnels(self, host: str) -> list[dict[str, Any]]:
        """What vnetctl says of each."""
        found = json.loads(self.attempt(host, "vnetctl", "tunnels", "--json").stdout)
        assert isinstance(found, list)
        return found

    def wait_for_tunnels(self, *hosts: str, seconds: float = 10) -> None:
        """Every tunnel of these hosts is up: before its first BFD session nothing is carried."""

        def up() -> bool:
            found = [self.tunnels(host) for host in hosts]
            return all(found) and all(one["state"] == "up" for tunnels in found for one in tunnels)

        self.until(up, seconds, f"the tunnels of {', '.join(hosts)} are up")

    def port_of(self, host: str, guest: str) -> dict[str, Any]:
        """The only port of a guest, as status has it."""
        ports = [port for port in self.status(host)["ports"] if port["guest"] == guest]
        assert len(ports) == 1, ports
        return dict(ports[0])

    def drops(self, host: str, name: str) -> list[dict[str, Any]]:
        """What was dropped at the ports of a guest, or at one tap, one row for each reason."""
        found = json.loads(self.on(host, "vnetctl", "drops", name, "--json"))
        assert isinstance(found, list)
        return found

    def flows(self, host: str) -> list[str]:
        """All flows of vnetd's bridges, by port name, without counters and without what the switch learned.

        ovs-ofctl knows no names for registers and meters, so they are put in here: a port that is made anew has another number.
        """
        found = []
        for bridge in self.on(host, "ovs-vsctl list-br").split():
            if bridge not in self.plane.bridges:
                text = self.on(host, f"ovs-ofctl -O OpenFlow14 dump-flows --names --no-stats {bridge}")
                names = self.port_names(host, bridge)
                found += [f"{bridge}:{_named(line, names)}" for line in text.splitlines() if not is_learned(line.strip())]
        return sorted(found)

    def port_names(self, host: str, bridge: str) -> dict[int, str]:
        """The ports of a bridge by their OpenFlow numbers."""
        text = self.on(host, f"for p in $(ovs-vsctl list-ports {bridge}); do echo $p $(ovs-vsctl get interface $p ofport); done")
        return {int(number): name for name, number in (line.split() for line in text.splitlines()) if number.isdigit()}

    def rows(self, host: str) -> list[str]:
        """What OVSDB's configuration says, without its own row identifiers, sorted."""
        columns = {
            "Bridge": "name,fail_mode,datapath_type,external_ids",
            "Port": "name,tag,trunks,vlan_mode,external_ids",
            "Interface": "name,type,options,external_ids,mtu_request",
            "QoS": "type,other_config,external_ids",
            "Queue": "other_config,external_ids",
        }
        found = []
        for table, names in columns.items():
            text = self.on(host, f"ovs-vsctl --format=csv --no-headings --columns={names} list {table}")
            found += [f"{table}:{line}" for line in text.splitlines()]
        return sorted(found)

    def ages(self, host: str, bridge: str) -> dict[str, float]:
        """Each flow of a bridge, but those that the switch has learned, with the seconds since it was put there."""
        text = self.on(host, f"ovs-ofctl -O OpenFlow14 dump-flows {bridge}")
        found = {}
        for line in text.splitlines():
            match = re.match(r" cookie=(\w+), duration=([\d.]+)s, (table=\d+), .*?(priority=.*)", line)
            if match and not is_learned(line.strip()):
                found[f"{match[1]} {match[3]} {match[4]}"] = float(match[2])
        return found

    def assert_flows_untouched(self, host: str, bridge: str, ages: dict[str, float]) -> None:
        """Each flow whose age this was is there still, and older: it was neither put again nor replaced."""
        later = self.ages(host, bridge)
        anew = [flow for flow, age in ages.items() if later.get(flow, 0) <= age]
        assert not anew, f"put anew: {anew}"

    def assert_settled(self, host: str) -> None:
        """A second pass would do nothing, as soon as what has just happened is over."""
        end = time.monotonic() + self.plane.settle_seconds
        while (done := self.attempt(host, "vnetctl", "plan")).returncode and time.monotonic() < end:
            time.sleep(0.2)
        assert done.returncode == 0, f"{host} is not settled:\n{done.stdout}{done.stderr}"

    def until(self, condition: Callable[[], Any], seconds: float, words: str) -> Any:
        """What ``condition`` returns as soon as that is true; ``seconds`` are those of a quiet machine with a kernel of its own."""
        seconds *= self.plane.patience
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < end, f"not within {seconds} s: {words}"
            time.sleep(0.05)

    def restart_daemon(self, host: str, signal: str = "TERM") -> None:
        self.stop_daemon(host, signal)
        self.on(host, "/run/start-vnetd")

    def stop_daemon(self, host: str, signal: str = "TERM") -> None:
        self.attempt(host, "pkill", f"-{signal}", "-x", "vnetd")
        self.until(lambda: not try_run(*self.lab.command(host, ["pgrep", "-x", "vnetd"])).strip(), 5, "vnetd ends")

    def assert_all_talk(self, guests: dict[str, str]) -> None:
        """Within a VLAN everybody reaches everybody by ping and TCP; across VLANs nobody anybody."""
        wrong = []
        for one in guests:
            for other, address in guests.items():
                if one == other:
                    continue
                same = one[0] == other[0]
                if same and not (self.pings(one, address) and self.tcp(one, address)):
                    wrong.append(f"{one} does not reach {other}")
                if not same and self.inside(one, f"ping -c 1 -W 1 {address}")[0] == 0:
                    wrong.append(f"{one} reaches {other}")
        assert not wrong, wrong


def _named(line: str, names: dict[int, str]) -> str:
    """A dumped flow with names for the port numbers in its register, its meters and the cookie of what it learns."""
    line = re.sub(r"(cookie=0x766e6574)([0-9a-f]{4})(?=0032,limit)", lambda one: one[1] + names.get(int(one[2], 16), one[2]), line)
    line = re.sub(r"(reg1=|set_field:)0x([0-9a-f]+)(?=,|\s|->reg1)", lambda one: one[1] + names.get(int(one[2], 16), one[2]), line)

    def meter(one: re.Match[str]) -> str:
        port, kind = MeterKind.of(int(one[1]))
        return f"meter:{names.get(port, port)}-{kind.name.lower()}"

    return re.sub(r"meter:(\d+)", meter, line)


def _name_in(network: str) -> str:
    match = re.search(r"<name>(.*?)</name>", network)
    assert match
    return match[1]
