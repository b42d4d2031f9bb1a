"""The kernel as judge of each frame, at a link and before Open vSwitch: programs made from the values that flows are made of."""
