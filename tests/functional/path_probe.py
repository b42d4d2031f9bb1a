"""Probes paths until its input ends, and prints what is found as lines of JSON: ``path_probe.py CONFIRM GROW LOCAL=REMOTE …``."""

from __future__ import annotations

import json
import sys
from ipaddress import ip_address

from vnetd.adapters.paths import PathProbe
from vnetd.pathmtu import Pace


def main(confirm: str, grow: str, *pairs: str) -> None:
    def tell() -> None:
        paths = {str(remote): [path.mtu, path.rtt_ms] for remote, path in probe.paths().items()}
        print(json.dumps({"paths": paths, "silent": [str(one) for one in probe.silent()]}), flush=True)

    probe = PathProbe(tell, Pace(float(confirm), float(grow)))
    probe.watch([(ip_address(local), ip_address(remote)) for local, remote in (pair.split("=") for pair in pairs)])
    probe.start()
    for _ in sys.stdin:
        tell()
    probe.close()
    probe.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
