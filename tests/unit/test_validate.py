"""``vnetctl validate``: what it says of good and bad files, alone and together, and its exit status."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vnetd.validate import validate
from vnetd.vnetctl import main

XML = Path(__file__).resolve().parents[2] / "xml"
BLUE, VM1, TAP0 = (str(XML / name) for name in ("overlay-gre.xml", "domain-portgroup.xml", "taps/tap0.xml"))


@pytest.fixture
def write(tmp_path):
    """A function that writes a file and returns its path."""

    def put(name: str, text: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return put


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["validate", *arguments])
    # Anything but an exit status would be a traceback on the user's screen.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result


def guest(*nics: str) -> str:
    return f"<domain><name>vm9</name><devices>{''.join(nics)}</devices></domain>"


def nic(portgroup: str, mac: str = "52:54:00:00:00:09") -> str:
    return f"<interface type='network'><mac address='{mac}'/><source network='blue' portgroup='{portgroup}'/></interface>"


def test_good_files():
    result = run(BLUE, VM1, TAP0)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{BLUE}: network blue: good",
        f"{VM1}: domain vm1: good",
        f"{TAP0}: tap tap0: good",
    ]


def test_good_files_as_json():
    result = run("--json", BLUE, VM1)
    assert result.exit_code == 0
    assert json.loads(result.output) == [
        {"file": BLUE, "what": "network blue", "error": None},
        {"file": VM1, "what": "domain vm1", "error": None},
    ]


BAD = {
    "empty": (b"", "the XML is empty"),
    "cut off": (b"<network><name>", "not well-formed"),
    "not UTF-8": (b"<network>\xff</network>", "not UTF-8"),
    "over 4 MiB": (b" " * 5 * 1024 * 1024 + b"<network/>", "more than 4194304 bytes"),
    "a DOCTYPE": (b"<!DOCTYPE network><network/>", "DOCTYPE"),
    "another root": (b"<pool/>", "<pool>; write <network> or <domain> or <interface>"),
    "a prefixed root": (b"<x:pool xmlns:x='urn:x'><domain/></x:pool>", "the root element is"),
    "many beginnings of comments": (b"<!--" * 1_000_000, "not well-formed"),
    "not vnetd's": (b"<network><name>default</name></network>", "<vnet:network xmlns:vnet='urn:vnetd:network:1'/>"),
    "a guest without a name": (b"<domain/>", "<domain> name"),
    "a tap that belongs nowhere": (b"<interface/>", "<interface>: does not say where the tap belongs"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line_and_status_2(write, data, words):
    path = write("tap9.xml", data)
    result = run(path)
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith(f"{path}: ")
    assert words in result.output


def test_a_bad_file_as_json(write):
    path = write("a.xml", "<pool/>")
    result = run("--json", path, BLUE)
    assert result.exit_code == 2
    rows = json.loads(result.output)
    assert [(row["file"], row["what"]) for row in rows] == [(path, ""), (BLUE, "network blue")]
    assert rows[0]["error"]
    assert rows[1]["error"] is None


def test_a_bad_file_does_not_hide_a_good_one(write):
    path = write("a.xml", "<pool/>")
    result = run(path, BLUE)
    assert result.exit_code == 2
    assert f"{BLUE}: network blue: good" in result.output


def test_every_bad_nic_has_a_line(write):
    path = write("a.xml", guest(nic("vlan-10", "00:00:00:00:00:00"), nic("vlan-10"), nic("a/b", "52:54:00:00:00:0a")))
    result = run(path)
    assert result.exit_code == 2
    assert ["<mac> address" in line or "<source> portgroup" in line for line in result.output.splitlines()] == [True, True]


def test_what_cannot_be_read(tmp_path):
    for path, words in ((tmp_path / "none.xml", "No such file"), (tmp_path, "Is a directory")):
        result = run(str(path))
        assert result.exit_code == 2
        assert result.output == f"{path}: cannot be read: {words}{' or directory' if 'such' in words else ''}\n"


def test_no_files_is_bad_usage():
    result = run()
    assert result.exit_code == 2
    assert "Missing argument" in result.output


def test_comments_of_any_length_come_before_the_root(write):
    text = f"<?xml version='1.0'?>\n<!-- <network> {'x' * 100_000} -->\n<?x <interface>?>{guest(nic('vlan-10'))}"
    assert run(write("a.xml", text)).output.endswith("domain vm9: good\n")


def test_the_taps_name_is_the_files(write):
    tap = "<interface><source network='blue'/></interface>"
    assert run(write("vm9-0.xml", tap)).output.endswith("tap vm9-0: good\n")
    result = run(write("0123456789abcdef.xml", tap))
    assert result.exit_code == 2
    assert "the file's name, which is the tap's: '0123456789abcdef' is no interface name" in result.output
    assert run(write("--help.xml", tap)).exit_code == 2


# Files held against each other.


def test_a_portgroup_that_the_network_does_not_have(write):
    path = write("a.xml", guest(nic("vlan-30")))
    assert run(path).exit_code == 0
    for order in ((path, BLUE), (BLUE, path)):
        result = run(*order)
        assert result.exit_code == 2
        assert sorted(result.output.splitlines()) == sorted(
            [
                f"{BLUE}: network blue: good",
                f"{path}: <source portgroup='vlan-30'>: network blue has no such portgroup; it has vlan-10, vlan-20, vlan-all",
            ]
        )


def test_a_taps_portgroup_is_held_against_the_network_too(write):
    path = write("tap9.xml", "<interface><source network='blue' portgroup='vlan-30'/></interface>")
    assert run(path, BLUE).exit_code == 2


def test_networks_that_are_not_given_are_not_missed(write):
    path = write("a.xml", guest(nic("vlan-30").replace("blue", "green")))
    assert run(path, BLUE).exit_code == 0


def test_the_rows_are_in_the_order_of_the_files():
    paths = [Path(TAP0), Path(BLUE)]
    assert [row[0] for row in validate(paths)] == paths
