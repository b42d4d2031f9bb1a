"""The lab: hypervisors in namespaces, each with its own libvirtd, Open vSwitch and vnetd, and real QEMU guests.

It needs root, Debian's packages and nothing of vnetd's own code: it installs and
runs vnetd as a user would.
"""


class LabError(Exception):
    """What went wrong, in a sentence for the person who called."""
