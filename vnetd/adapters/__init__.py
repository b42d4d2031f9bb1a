"""The rim: one file for each thing outside (OVSDB, OpenFlow, netlink, libvirt). Only these do I/O with it."""
