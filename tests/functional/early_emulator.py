#!/usr/bin/python3 -IS
"""An emulator whose guest sends from before its first instruction: it writes to each tap it was given, and then becomes QEMU.

libvirt starts it in QEMU's place, with the taps' descriptors open, after its hooks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import sys
import time

MARK = b"from the first instruction on"
SECONDS = 0.4
TUNGETVNETHDRSZ = 0x800454D7
"""linux/if_tun.h"""
OWN_ADDRESS, FOREIGN_ADDRESS = bytes([10, 0, 77, 1]), bytes([10, 0, 77, 2])
FOREIGN_MAC = bytes.fromhex("525400666666")


def packet(source: bytes, mark: bytes) -> bytes:
    """A UDP packet to everybody."""
    head = bytes([0x45, 0, 0, 28 + len(mark), 0, 0, 0, 0, 64, 17]) + b"\0\0" + source + b"\xff\xff\xff\xff"
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + (0xFFFF - ((total & 0xFFFF) + (total >> 16))).to_bytes(2, "big") + head[12:]
    return head + bytes([0, 9, 0, 9, 0, 8 + len(mark), 0, 0]) + mark


def frames(mac: bytes) -> list[bytes]:
    """What no policy lets pass, each in a frame for all, and one last that it does."""
    everybody = b"\xff" * 6
    spoofed = packet(OWN_ADDRESS, MARK)
    found = [everybody + FOREIGN_MAC + b"\x08\x00" + spoofed, everybody + mac + b"\x08\x00" + packet(FOREIGN_ADDRESS, MARK)]
    found += [everybody + mac + b"\x81\x00" + vlan.to_bytes(2, "big") + b"\x08\x00" + spoofed for vlan in (1, 10, 20, 30, 4094)]
    found += [everybody + mac + b"\x81\x00\0\0\x81\x00\0\x14\x08\x00" + spoofed, everybody + mac + b"\x88\xcc" + MARK + bytes(30)]
    return [*found, everybody + mac + b"\x08\x00" + packet(OWN_ADDRESS, b"as it may" + bytes(20))]


def write(tap: int, frame: bytes) -> None:
    """A frame behind the header that libvirt's taps have; QEMU changes its size while it starts."""
    size = struct.unpack("i", fcntl.ioctl(tap, TUNGETVNETHDRSZ, bytes(4)))[0]
    try:
        os.write(tap, bytes(size) + frame)
    except OSError as error:
        # A tap that is down takes nothing, and neither does one whose header has just changed.
        if error.errno not in (errno.EIO, errno.EINVAL):
            raise


def main() -> None:
    words = sys.argv[1:]
    taps = [int(found[1]) for word in words if '"type":"tap"' in word and (found := re.search(r'"fd":"(\d+)"', word))]
    mac = next((found[1] for word in words if (found := re.search(r'"mac":"([0-9a-f:]{17})"', word))), None)
    if taps and mac and not os.fork():
        # Each frame several times, from now until the machine runs.
        end = time.monotonic() + SECONDS
        batch = frames(bytes.fromhex(mac.replace(":", "")))
        while time.monotonic() < end:
            for frame in batch:
                for tap in taps:
                    write(tap, frame)
            time.sleep(0.01)
        os._exit(0)
    os.execv("/usr/bin/qemu-system-x86_64", ["qemu-system-x86_64", *words])


if __name__ == "__main__":
    main()
