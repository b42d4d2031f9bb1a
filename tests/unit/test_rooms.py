"""The rooms of the house: which module may import what, read from the source itself.

The core does no I/O, each outside library has one adapter, and what a hook loads
stays small. A new import that breaks this is a decision, to be made here first.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vnetd

HOUSE = Path(vnetd.__file__).parent
ROOT = HOUSE.parent

IO = {"asyncio", "ctypes", "fcntl", "http", "io", "libvirt", "logging", "multiprocessing", "os", "ovs", "ovsdbapp", "pathlib", "pyroute2"}
IO |= {"select", "selectors", "shutil", "signal", "socket", "subprocess", "tempfile", "threading", "time", "urllib"}

LIBRARIES = {
    "ovs": "adapters/ovsdb.py",
    "ovsdbapp": "adapters/ovsdb.py",
    "pyroute2": "adapters/netlink.py",
    "libvirt": "adapters/libvirtd.py",
    "lxml": "xmlread/",
}

MODULES = sorted(HOUSE.rglob("*.py"), key=str)
CORE = [path for path in MODULES if path.parent.name in ("intent", "judge", "model", "pipeline", "xmlread")]
CORE += [
    HOUSE / f"{name}.py" for name in ("drops", "errors", "heard", "mtu", "pathmtu", "plan", "policy", "readback", "reconcile", "rowplan")
]
CORE += [HOUSE / f"{name}.py" for name in ("shaping", "status", "tunnels")]


def name_of(path: Path) -> str:
    """vnetd/model/names.py is vnetd.model.names."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, by their full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: an import by full name is one that a reader can find"
            found.update(_modules(node))
    return found


def _modules(node: ast.ImportFrom) -> set[str]:
    """``from vnetd import frames`` imports vnetd.frames; ``from os import path`` imports os."""
    whole = str(node.module)
    inside = {f"{whole}.{alias.name}" for alias in node.names}
    known = {name_of(path) for path in MODULES}
    return {one if one in known else whole for one in inside}


def outside(path: Path) -> set[str]:
    """The first names of what a file imports from beyond vnetd."""
    return {one.partition(".")[0] for one in imports(path)} - {"vnetd"}


def inside(path: Path) -> set[str]:
    return {one for one in imports(path) if one.partition(".")[0] == "vnetd"}


def relative(path: Path) -> str:
    return str(path.relative_to(HOUSE))


def test_the_house_has_rooms() -> None:
    """Were the source read wrongly, every test below would pass."""
    assert "vnetd.model.state" in inside(HOUSE / "plan.py")
    assert "vnetd.frames" in inside(HOUSE / "thin.py")
    assert "pyroute2" in outside(HOUSE / "adapters/netlink.py")
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_the_core_does_no_io(path: Path) -> None:
    assert outside(path) & IO == set()
    assert not [one for one in inside(path) if one.startswith("vnetd.adapters")]


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_the_core_opens_no_file_and_runs_nothing(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = {func.id for func in calls if isinstance(func, ast.Name)}
    assert names & {"open", "exec", "eval", "input", "print", "__import__", "compile"} == set()


@pytest.mark.parametrize("path", [path for path in CORE if path.parent.name == "model"], ids=relative)
def test_the_model_knows_only_itself_and_its_errors(path: Path) -> None:
    assert all(one == "vnetd.errors" or one.startswith("vnetd.model") for one in inside(path))


@pytest.mark.parametrize(
    ("room", "knows"),
    [
        ("errors.py", ()),
        ("pipeline", ("vnetd.model", "vnetd.pipeline")),
        ("xmlread", ("vnetd.errors", "vnetd.model", "vnetd.xmlread")),
        ("policy.py", ("vnetd.errors", "vnetd.model")),
        ("intent", ("vnetd.errors", "vnetd.intent", "vnetd.judge", "vnetd.model", "vnetd.mtu", "vnetd.policy")),
        ("judge", ("vnetd.errors", "vnetd.judge", "vnetd.model", "vnetd.pipeline")),
        ("tunnels.py", ("vnetd.model", "vnetd.textual")),
        ("mtu.py", ("vnetd.model",)),
        ("pathmtu.py", ()),
        ("shaping.py", ("vnetd.model",)),
        ("readback.py", ("vnetd.model", "vnetd.pipeline", "vnetd.shaping")),
        ("drops.py", ("vnetd.model", "vnetd.pipeline", "vnetd.textual")),
        ("rowplan.py", ("vnetd.intent", "vnetd.model", "vnetd.pipeline")),
        ("leaves.py", ("vnetd.model",)),
        ("heard.py", ("vnetd.model", "vnetd.pipeline")),
        ("plan.py", ("vnetd.heard", "vnetd.leaves", "vnetd.model", "vnetd.pipeline", "vnetd.rowplan")),
        (
            "reconcile.py",
            (
                *("vnetd.drops", "vnetd.errors", "vnetd.intent", "vnetd.leaves", "vnetd.model", "vnetd.plan", "vnetd.rowplan"),
                "vnetd.tunnels",
            ),
        ),
        (
            "adapters",
            (
                *("vnetd.adapters", "vnetd.drops", "vnetd.errors", "vnetd.model", "vnetd.pathmtu", "vnetd.plan", "vnetd.rowplan"),
                *("vnetd.settings", "vnetd.tunnels", "vnetd.xmlread"),
            ),
        ),
    ],
)
def test_knowledge_goes_one_way(room: str, knows: tuple[str, ...]) -> None:
    """From XML to values, to what should be, to steps; the adapters know the steps, and nobody in the core knows them."""
    for path in [HOUSE / room] if room.endswith(".py") else sorted((HOUSE / room).glob("*.py")):
        strangers = [one for one in inside(path) if not any(one == each or one.startswith(f"{each}.") for each in knows)]
        assert strangers == [], relative(path)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_each_library_has_one_room(path: Path) -> None:
    for library in outside(path) & set(LIBRARIES):
        assert relative(path).startswith(LIBRARIES[library])


@pytest.mark.parametrize("path", [path for path in MODULES if relative(path) != "adapters/openflow.py"], ids=relative)
def test_only_its_adapter_runs_ovs_ofctl(path: Path) -> None:
    """The word may stand in a docstring or in a sentence for a person, but not alone, as a command's name does."""
    strings = [node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)]
    assert "ovs-ofctl" not in strings
    assert "subprocess" not in outside(path)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_command_is_made_of_a_string(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword):
            assert node.arg != "shell"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("system", "popen", "getoutput")


@pytest.mark.parametrize(
    ("name", "may"), [("__init__", set()), ("frames", set()), ("thin", {"os", "sys", "_socket", "time", "vnetd.frames"})]
)
def test_what_a_hook_loads_stays_small(name: str, may: set[str]) -> None:
    """Imports for a type checker only are not made when a hook runs."""
    tree = ast.parse((HOUSE / f"{name}.py").read_text(encoding="utf-8"))
    for guarded in [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]:
        guarded.body = [ast.Pass()]
    bare = ast.unparse(tree)
    made = {alias.name for node in ast.walk(ast.parse(bare)) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(ast.parse(bare)):
        if isinstance(node, ast.ImportFrom):
            made |= _modules(node)
    assert made <= may


def test_a_hook_loads_nothing_more_when_it_runs() -> None:
    """Asked of an interpreter, since one import may bring another."""
    script = f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules); import vnetd.thin; "
    script += "print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert set(done.stdout.split()) == {"vnetd", "vnetd.frames", "vnetd.thin"}


@pytest.mark.parametrize("script", ["hooks/qemu", "hooks/network", "scripts/ovs-ifup", "scripts/ovs-ifdown"])
def test_hooks_and_scripts_load_only_the_thin_side(script: str) -> None:
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    inner = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert plain == {"os", "sys"}
    assert inner == {"vnetd.thin"}
