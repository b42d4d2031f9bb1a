"""A differential search: frames that the kernel's Open vSwitch module and ovs-vswitchd read differently."""
