"""The command line of the lab's own kernel."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from labkit import LabError
from labkit.image import image
from labkit.kernel import Kernel, unpacked

DESCRIPTION = """A command on a kernel of its own that has Open vSwitch's module, as every hypervisor's has and this machine's may not.

  kernel run -- uname -a                        the command's output and exit status are what they would be here
  kernel run -o /tmp/out -- cp /proc/modules /tmp/out
  kernel shell                                  a shell in there; exit ends the kernel
  kernel fetch                                  only get the kernel, which Debian's package user-mode-linux has

It sees this machine's files, and its own writing goes to its memory and is lost in the end, but for what it writes to
the folders of --output. It has no network but its own: VNETD_LAB_DATAPATH=system tests/lab/lab up 2 makes hypervisors there.
"""


def main() -> int:
    """Run one command; its exit status."""
    arguments = _parser().parse_args()
    try:
        # Whoever was started in the background of a script has SIGINT ignored.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
        if os.geteuid() != 0:
            raise LabError("the kernel mounts this machine's files as its own; run it as root")
        return int(arguments.action(arguments) or 0)
    except LabError as error:
        sys.stderr.write(f"kernel: {error}\n")
        return 125


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kernel", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-m", "--memory", default="6G", help="the most that it may take (default: %(default)s)")
    common.add_argument("-p", "--processor", type=int, default=max(os.sched_getaffinity(0)), help="the one it runs on (default: the last)")
    common.add_argument("-o", "--output", action="append", default=[], type=Path, metavar="FOLDER", help="written by both sides")
    common.add_argument("-k", "--kernel-messages", action="store_true", help="show what the kernel itself says")
    run = commands.add_parser("run", parents=[common], help="run a command")
    run.add_argument("words", nargs="+", metavar="-- COMMAND")
    run.set_defaults(action=_run)
    commands.add_parser("shell", parents=[common], help="a shell for people").set_defaults(action=_shell)
    commands.add_parser("fetch", help="get the kernel").set_defaults(action=lambda arguments: print(unpacked()))
    return parser


def _kernel(arguments: argparse.Namespace) -> Kernel:
    for folder in arguments.output:
        folder.mkdir(parents=True, exist_ok=True)
    # There is no network in there to make the guests' image by.
    image()
    return Kernel(arguments.memory, arguments.processor, arguments.output, talkative=arguments.kernel_messages)


def _run(arguments: argparse.Namespace) -> int:
    with _kernel(arguments).started(arguments.words) as boot:
        for piece in boot.output():
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return boot.wait()


def _shell(arguments: argparse.Namespace) -> int:
    if not sys.stdin.isatty():
        raise LabError("a shell needs a terminal; kernel run -- COMMAND needs none")
    with _kernel(arguments).started(["bash", "-i"], shell=True) as boot:
        return boot.wait()
