"""Every VLAN mode against every other."""
