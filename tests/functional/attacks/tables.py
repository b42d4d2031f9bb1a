"""All tables, in the order in which they are played."""

from attacks import (  # noqa: F401 - each enters its tables by being imported.
    table_arp,
    table_host,
    table_icmp6,
    table_ipv4,
    table_ipv6,
    table_isolation,
    table_link,
    table_neighbours,
    table_readings,
    table_toward,
    table_trunk,
    table_unknown,
)
from attacks.rows import TABLES

NAMES = list(TABLES)

TWICE_READ = frozenset(name for name in NAMES if name.startswith(("read in two ways", "what the host would unpack", "neighbour adv")))
"""Those of frames that ovs-vswitchd and the kernel read differently, so that it matters what is in the cache."""
