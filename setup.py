"""Packaging. The metadata is in pyproject.toml; here stands what it cannot say: files that are not Python modules."""

from glob import glob

from setuptools import setup

setup(
    data_files=[
        ("share/vnetd/hooks", ["hooks/qemu", "hooks/network"]),
        ("share/vnetd/scripts", ["scripts/ovs-ifup", "scripts/ovs-ifdown"]),
        ("share/vnetd/packaging", ["packaging/vnetd.service"]),
        ("share/vnetd/xml", ["xml/vnet.rng", *sorted(glob("xml/*.xml"))]),
        ("share/vnetd/xml/taps", sorted(glob("xml/taps/*.xml"))),
        ("share/man/man8", sorted(glob("docs/man/*.8"))),
    ]
)
