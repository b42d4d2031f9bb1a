"""``vnetctl``: the command line.

Exit status: 0 fine, 1 something is wrong in the world, 2 the input is wrong, and
for ``plan`` 3 when something would change.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import BashComplete

from vnetd import __version__
from vnetd.client import ask_daemon
from vnetd.errors import InputError, Unavailable, VnetdError, WorldError
from vnetd.model import names
from vnetd.requests import Answer, Request, reread_taps
from vnetd.service import Service

if TYPE_CHECKING:
    from vnetd.lint import Finding

F = TypeVar("F", bound=Callable[..., Any])

CHANGES = 3
"""``plan``'s status when something would change."""


def plainly(command: F) -> F:
    """Errors as one sentence on stderr, with the status that says whose they are; never a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except VnetdError as error:
            click.echo(f"vnetctl: {error}", err=True)
            sys.exit(error.status)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(1)

    return wrapped  # type: ignore[return-value]


class Commands(click.Group):
    """All commands. What cannot be written, their help too, is one sentence as every other error."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            what = error.filename or "what there is to say cannot be written"
            click.echo(f"vnetctl: {what}: {error.strerror}", err=True)
            # Python writes what is left once more when it ends, and would complain itself.
            with open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """See, check and repair this host's vnetd networks.

    Exit status: 0 fine, 1 something is wrong in the world, 2 the input is wrong.
    """


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of lines.")
@plainly
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check FILES as vnetd reads them, without touching anything.

    Each is a libvirt <network> or <domain>, or a tap's <interface> whose file name is
    the tap's. Files given together are also held against each other. What `lint` finds
    besides is a warning, and no error.
    """
    from vnetd.adapters.learned import Memory
    from vnetd.lint import Lint, as_measured
    from vnetd.validate import read, texts_of, verdict

    texts = texts_of(files)
    reading = read(texts)
    rows = verdict(reading)
    warnings = Lint(texts, reading, as_measured(reading, Memory().read())).beyond_errors()
    if as_json:
        found = [{"file": str(path), "what": what, "error": fault} for path, what, fault in rows]
        click.echo(json.dumps([*found, *({"file": str(one.place), "what": "", "error": None, "warning": one.words} for one in warnings)]))
    for path, what, fault in [] if as_json else rows:
        click.echo(f"{path}: {fault}" if fault else f"{path}: {what}: good", err=fault is not None)
    for one in [] if as_json else warnings:
        click.echo(f"{one.place}: warning: {one.words}", err=True)
    if any(fault for _, _, fault in rows):
        sys.exit(InputError.status)


@main.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--underlay-mtu", type=click.IntRange(576, 65535), help="The MTU between the hypervisors (default: 1500, or as it is here).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of lines.")
@plainly
def lint(files: tuple[Path, ...], underlay_mtu: int | None, as_json: bool) -> None:
    """Find what does not mean what it looks like in FILES, or on this host.

    FILES are as for `validate`. Without any: the definitions of the networks and guests
    of this host, and what Open vSwitch and tc really do with them.

    Exit status 0 when there is nothing to say, 1 when there is or libvirt is away, 2 when vnetd refuses something.
    """
    found, complete = (_lint_files(files, underlay_mtu), True) if files else _lint_host(underlay_mtu)
    if as_json:
        words = [(str(one.place), one.line, one.element, one.text, one.refused) for one in found]
        click.echo(json.dumps([dict(zip(("where", "line", "element", "text", "error"), row, strict=True)) for row in words]))
    for one in [] if as_json else found:
        click.echo(f"{one}")
    if any(one.refused for one in found):
        sys.exit(InputError.status)
    if found or not complete:
        sys.exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of lines.")
@plainly
def plan(as_json: bool) -> None:
    """Show what `apply` would change, and change nothing.

    Exit status 0 when everything is as it should be, 3 when something would change,
    2 when a tap's file cannot be read.
    """
    service = _local_service(remember=False, take=True)
    faults = reread_taps(service.store, service.taps)
    desired, _, steps = service.look()
    lines = steps.lines()
    for problem in desired.problems:
        if not problem.soft:
            click.echo(f"vnetctl: {problem}", err=True)
    if as_json:
        click.echo(json.dumps(lines))
    elif lines:
        click.echo("\n".join(lines))
    else:
        click.echo("nothing to do")
    if faults:
        raise InputError("; ".join(faults))
    sys.exit(CHANGES if lines else 0)


@main.command()
@plainly
def apply() -> None:
    """Read libvirt and every tap's file again, and make this host as they say.

    The daemon does it when it runs; without one, this command does.
    """
    answer = ask_daemon("apply")
    if answer is None:
        service = _local_service(remember=True, take=True)
        answer = service.serve([Request("apply", ())])[0]
        if service.last is not None:
            for line in service.last.done:
                click.echo(line)
    if answer.status:
        click.echo(f"vnetctl: {answer.text}", err=True)
        sys.exit(answer.status)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@plainly
def status(as_json: bool) -> None:
    """Show networks, ports and tunnels, each with its state and its error in words.

    Exit status 1 when any of them has an error.
    """
    answer = ask_daemon("status")
    found = json.loads(_or_raise(answer)) if answer is not None else _local_report()
    from vnetd.status import as_text

    click.echo(json.dumps(found, indent=2) if as_json else as_text(found))
    if any(not problem["soft"] for problem in found["problems"]):
        sys.exit(1)


@main.command()
@click.argument("name", metavar="[DOMAIN|TAP]", required=False)
@click.option("--watch", is_flag=True, help="Print what is dropped each second, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of a table; with --watch, one a second.")
@plainly
def drops(name: str | None, watch: bool, as_json: bool) -> None:
    """Show what was dropped, by port and reason, in packets and bytes.

    Without DOMAIN or TAP, of all ports. Counted since the port was wired, or since
    ovs-vswitchd was last started; with --watch, per second.
    """
    from vnetd.drops import as_text, grown

    if watch:
        _each_second(lambda: _drops_of(name), grown, as_text, as_json)
        return
    found = _drops_of(name)
    click.echo(json.dumps(found) if as_json else as_text(found))


Account = list[dict[str, Any]]


def _each_second(
    look: Callable[[], Account], grown: Callable[[Account, Account], Account], as_text: Callable[..., str], as_json: bool
) -> None:
    """What an account has grown by, each second until interrupted."""
    found = look()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)
            before, found = found, look()
            news = grown(before, found)
            click.echo(json.dumps(news) if as_json else as_text(news, "/S", time.strftime("%H:%M:%S")))


def _drops_of(name: str | None) -> list[dict[str, Any]]:
    """The account of one guest or port, or of all. Raises InputError for a name that is neither."""
    answer = ask_daemon("drops")
    if answer is not None:
        found = json.loads(_or_raise(answer))
    else:
        from vnetd.drops import account

        service = _local_service(remember=False)
        desired, observed, _ = service.look()
        found = account(desired, service.drops(desired, observed))
    if name is None:
        return list(found)
    mine = [one for one in found if name in (one["port"], one["guest"])]
    if not mine and not _is_known(name):
        raise InputError(f"{names.shown(name)} is no guest or port here; vnetctl status lists them")
    return mine


def _is_known(name: str) -> bool:
    answer = ask_daemon("status")
    report = json.loads(_or_raise(answer)) if answer is not None else _local_report()
    return any(name in (port["tap"], port["guest"]) for port in report["ports"])


@main.command()
@click.option("--watch", is_flag=True, help="Print them again each second, with what they counted in it, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of a table; with --watch, one a second.")
@plainly
def tunnels(watch: bool, as_json: bool) -> None:
    """Show the tunnel to each peer: its state, since when and why, and what has gone through it.

    Exit status 1 when a peer is not there.
    """
    from vnetd.tunnels import as_text, grown

    if watch:
        _each_second(_tunnels, grown, as_text, as_json)
        return
    found = _tunnels()
    click.echo(json.dumps(found) if as_json else as_text(found))
    if any(one["state"] not in ("up", "unwatched") for one in found):
        sys.exit(1)


def _tunnels() -> list[dict[str, Any]]:
    answer = ask_daemon("tunnels")
    if answer is not None:
        return list(json.loads(_or_raise(answer)))
    service = _local_service(remember=False)
    desired, observed, _ = service.look()
    return service.tunnels(desired, observed)


@main.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True, help="Install below this folder.")
@plainly
def install(root: Path) -> None:
    """Install the libvirt hooks, ovs-ifup and ovs-ifdown, the systemd unit and bash completion.

    Repeatable. libvirt looks for hooks when it starts, so restart it once afterwards;
    running guests do not notice.
    """
    from vnetd.install import install as write

    for path in _as_root(lambda: write(root, _completion())):
        click.echo(f"wrote {path}")
    click.echo("now: systemctl daemon-reload; systemctl enable --now vnetd; systemctl restart libvirtd")


@main.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True, help="Uninstall below this folder.")
@plainly
def uninstall(root: Path) -> None:
    """Remove what `install` wrote. Bridges, ports and your own files stay as they are."""
    from vnetd.install import uninstall as remove

    for path in _as_root(lambda: remove(root, _completion())):
        click.echo(f"removed {path}")


@main.command()
@plainly
def version() -> None:
    """Print vnetctl's version, and the daemon's where one runs."""
    click.echo(f"vnetctl {__version__}")
    answer = ask_daemon("version")
    click.echo(f"vnetd {answer.text}" if answer is not None else "vnetd does not run")


def _local_service(remember: bool, take: bool = False) -> Service:
    """A service that has read libvirt, where that answers; without it, what the hooks left is what is known.

    ``take``: what changed networks say of ports is in force from now on.
    """
    from vnetd.adapters.libvirtd import read_once
    from vnetd.oneshot import local_service

    if os.geteuid() != 0:
        raise WorldError("only root can look at Open vSwitch and the spool; use sudo")
    try:
        listing = read_once()
    except Unavailable as error:
        click.echo(f"vnetctl: {error}; going on with what the hooks have said", err=True)
        return local_service(remember)
    service = local_service(remember)
    service.sync(listing.began, listing.networks, listing.domains, listing.defined, take=take)
    return service


def _lint_files(files: tuple[Path, ...], underlay_mtu: int | None) -> list[Finding]:
    from vnetd.adapters.learned import Memory
    from vnetd.lint import Lint, Underlay, as_measured
    from vnetd.validate import read, texts_of

    texts = texts_of(files)
    reading = read(texts)
    measured = as_measured(reading, Memory().read())
    return Lint(texts, reading, (lambda _: Underlay(underlay_mtu)) if underlay_mtu else measured).findings()


def _lint_host(underlay_mtu: int | None) -> tuple[list[Finding], bool]:
    """What there is to say of this host, and whether its definitions were looked at."""
    from vnetd.adapters.libvirtd import Definitions, read_definitions
    from vnetd.adapters.shaping import Shaping
    from vnetd.lint import Underlay
    from vnetd.livelint import lint_host

    service = _local_service(remember=False)
    complete = True
    try:
        definitions = read_definitions()
    except Unavailable as error:
        click.echo(f"vnetctl: {error}; no definition of a network or guest was looked at", err=True)
        definitions, complete = Definitions(), False
    desired, observed, _ = service.look()
    taps = [path for tap in service.store.taps() if (path := service.taps / f"{tap}.xml").exists()]
    found = lint_host(desired, observed, Shaping(), definitions, taps, Underlay(underlay_mtu) if underlay_mtu else None)
    return found, complete


def _local_report() -> dict[str, Any]:
    from vnetd.adapters.shaping import Shaping
    from vnetd.status import report

    service = _local_service(remember=False)
    service.tc = Shaping()
    desired, observed, steps = service.look()
    return report(desired, observed, steps, service.drops(desired, observed), service.limits(desired, observed))


def _or_raise(answer: Answer) -> str:
    if answer.status:
        raise WorldError(answer.text)
    return answer.text


def _as_root(action: Callable[[], list[Path]]) -> list[Path]:
    try:
        return action()
    except OSError as error:
        raise WorldError(f"{error.filename}: {error.strerror}; run this as root") from None


def _completion() -> str:
    return BashComplete(main, {}, "vnetctl", "_VNETCTL_COMPLETE").source()


if __name__ == "__main__":
    main()
