"""The file of what was learned: it comes back as it was written, and whatever else may lie there does no harm."""

from __future__ import annotations

import json
import os
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetd.adapters.learned import FILE, Memory
from vnetd.model.state import Learned

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
LEARNED = Learned({V4: 1500, V6: 1280}, {"hv1": (V4, V6), "hv2.example.org": (V6,)})

UNICAST = st.one_of(
    st.integers(0x01000000, 0xDFFFFFFF).map(IPv4Address),
    st.integers(0x2001 << 112, (0x2002 << 112) - 1).map(IPv6Address),
)
STATES = st.builds(
    Learned,
    st.dictionaries(UNICAST, st.integers(576, 65535)),
    st.dictionaries(st.text(max_size=20), st.lists(UNICAST, min_size=1, max_size=4).map(tuple)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["192.0.2.1", "2001:db8::1"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["paths", "names", "192.0.2.1"]), inner),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vnetd" / "learned.json"


def put(file: Path, text: str | bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o600)


def test_what_is_written_is_read_by_another_process(file: Path) -> None:
    Memory(file).write(LEARNED)
    assert Memory(file).read() == LEARNED
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["learned.json"]


@given(STATES)
def test_it_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, learned: Learned) -> None:
    file = tmp_path_factory.mktemp("learned") / "learned.json"
    Memory(file).write(learned)
    assert Memory(file).read() == learned


def test_it_is_written_only_when_it_changes(file: Path) -> None:
    memory = Memory(file)
    memory.write(Learned())
    assert not file.exists(), "no file says as much as one without content"
    memory.write(LEARNED)
    before = file.stat()
    memory.write(Learned(dict(LEARNED.paths), dict(LEARNED.names)))
    Memory(file).write(LEARNED)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    memory.write(Learned())
    assert file.stat().st_ino != before.st_ino
    assert Memory(file).read() == Learned()


def test_no_file_says_nothing(file: Path) -> None:
    assert Memory(file).read() == Learned()
    assert Path("/run/vnetd/learned.json") == FILE


@given(st.integers(0, 400))
def test_half_a_file_says_nothing(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    file = tmp_path_factory.mktemp("learned") / "learned.json"
    Memory(file).write(LEARNED)
    whole = file.read_bytes()
    put(file, whole[:size])
    # All but the last line end of it is whole.
    assert Memory(file).read() == (LEARNED if size >= len(whole) - 1 else Learned())


@given(st.one_of(st.binary(), JSON.map(lambda value: json.dumps(value).encode())))
def test_anything_else_is_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("learned") / "learned.json"
    put(file, data)
    assert Memory(file).read() == Learned()


@given(st.fixed_dictionaries({"format": st.just(1)}, optional={"paths": JSON, "names": JSON}))
def test_of_vnetds_own_format_only_what_makes_sense_is_read(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    file = tmp_path_factory.mktemp("learned") / "learned.json"
    put(file, json.dumps(value))
    found = Memory(file).read()
    assert all(576 <= mtu <= 65535 for mtu in found.paths.values())
    assert all(isinstance(one, IPv4Address | IPv6Address) for addresses in found.names.values() for one in addresses)


def test_what_is_out_of_range_is_dropped_and_the_rest_is_read(file: Path) -> None:
    paths = {"192.0.2.1": 1400, "192.0.2.2": 575, "192.0.2.3": 65536, "192.0.2.4": True, "192.0.2.5": "1500", "192.0.2.6": 1500.0}
    paths |= {"hv1": 1500, "224.0.0.1": 1500, "0.0.0.0": 1500, "fe80::1%eth0": 1500, "2001:db8::1": 65535, "192.0.2.7": 576}
    names = {"hv1": ["192.0.2.1", "none", 7, None, "ff02::1"], "hv2": [], "hv3": "192.0.2.1", "hv4": ["::"], "hv5": {"192.0.2.1": 1}}
    put(file, json.dumps({"format": 1, "paths": paths, "names": names}))
    assert Memory(file).read() == Learned({V4: 1400, V6: 65535, ip_address("192.0.2.7"): 576}, {"hv1": (V4,)})


@pytest.mark.parametrize("text", ['{"format": 2, "paths": {"192.0.2.1": 1500}}', '{"paths": {"192.0.2.1": 1500}}', "[" * 100000, "[]", "7"])
def test_a_foreign_file_says_nothing(file: Path, text: str) -> None:
    put(file, text)
    assert Memory(file).read() == Learned()


def test_a_file_that_others_could_have_written_is_not_believed(file: Path) -> None:
    Memory(file).write(LEARNED)
    file.chmod(0o666)
    assert Memory(file).read() == Learned()
    file.chmod(0o600)
    other = file.with_name("other")
    other.symlink_to(file)
    assert Memory(other).read() == Learned()
    fifo = file.with_name("fifo")
    os.mkfifo(fifo, 0o600)
    assert Memory(fifo).read() == Learned(), "and it is not waited for"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_believed(file: Path) -> None:
    Memory(file).write(LEARNED)
    os.chown(file, 65534, 65534)
    assert Memory(file).read() == Learned()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "vnetd").write_text("a file", encoding="ascii")
    memory = Memory(tmp_path / "vnetd" / "learned.json")
    memory.write(LEARNED)
    assert memory.read() == Learned()
    (tmp_path / "vnetd").unlink()
    memory.write(LEARNED)
    assert memory.read() == LEARNED, "what could not be written is written as soon as it can be"


def test_a_reader_never_sees_half_a_file(file: Path) -> None:
    memory, other = Memory(file), Learned({ip_address("192.0.2.9"): 9000}, {f"hv{n}": (V4,) for n in range(500)})
    memory.write(LEARNED)
    ended = threading.Event()

    def write() -> None:
        for _ in range(100):
            memory.write(other)
            memory.write(LEARNED)
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not ended.is_set():
        assert Memory(file).read() in (LEARNED, other)
    thread.join()
