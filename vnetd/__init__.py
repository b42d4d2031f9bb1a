"""Multi-host Open vSwitch networking for plain libvirt/KVM.

This package's top stays empty of imports: the hooks load it on every guest
start, and what is imported here is paid there.
"""

__version__ = "0.1.0"
