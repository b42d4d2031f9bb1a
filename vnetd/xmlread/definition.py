"""A network that runs, with what is in force of its newest definition.

libvirt keeps the definition with which a network was started until it is started
again, and shows hooks that one. What vnetd's element says (peers, bindings, guards) can
change under running guests, and should: it is taken from the newest definition at once.
libvirt's own words for ports (``<vlan>`` and ``<portgroup>``) are taken from there when
somebody says so (``vnetctl apply``), and stay until the running definition itself
changes (``virsh net-update``), whose word is then newer. vnetd's rules for a portgroup
that comes, goes or changes so wait with it.

Strategy: the text in force is folded from the text before and what is heard now. What
the running definition says, and what the newest one said when it was last taken, stand
beside it in the metadata where they are something else: by them it is seen which of the
two has changed, element by element, and a NIC that libvirt gave the running word to is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from lxml import etree

from vnetd.errors import InputError
from vnetd.xmlread.gate import NETWORK_NS, parse, serialize

KEPT_NS = "urn:vnetd:kept:1"
"""Of elements in the spool's own copies; a person's file has no use for them."""

OUTGOING = "kept-outgoing"
"""An attribute, there too: of a ``<portgroup>`` that nobody defines any longer, and that guests still use."""

_OURS = f"{{{NETWORK_NS}}}network"
_RUNNING = f"{{{KEPT_NS}}}running"
_DEFINED = f"{{{KEPT_NS}}}defined"
_RULES = f"{{{NETWORK_NS}}}portgroup"

Key = tuple[str, str]
"""What names an element that says something of ports: its tag, and a portgroup's name."""

Words = dict[Key, etree._Element]


def in_force(
    running: bytes, old: bytes = b"", defined: bytes = b"", *, take: bool = False, used: Iterable[str] = (), root: str = "network"
) -> bytes:
    """``running`` with what is in force beyond it; to the letter where that is nothing.

    ``old`` is the text that was in force, ``defined`` the newest definition where it is
    known; ``take``: what has changed in its ``<vlan>`` and ``<portgroup>`` elements is in
    force from now on. ``used`` names the portgroups of running guests, who keep them
    when nobody defines them any longer.
    """
    try:
        here = parse(running, root)
    except InputError:
        return running
    before, newest = _tree(old, root), _tree(defined, root)
    # How many guests use it changes all the time, and says nothing of the network.
    changed = here.attrib.pop("connections", None) is not None
    changed |= _drop_kept(here)
    ours, rules = deepcopy(here.find(f"metadata/{_OURS}")), _rules(here if before is None else before)
    _put_ours(here, newest if newest is not None else before)
    now = _words(here)
    heard = _Heard(now, _words(newest) if take and newest is not None else None)
    if before is not None:
        heard.force = _words(before)
        heard.ran, heard.was_defined = _kept(before, _RUNNING, heard.force), _kept(before, _DEFINED, heard.force)
    wanted = heard.fold(set(used))
    said = heard.force if newest is None else _words(newest)
    # An element that is no longer defined is not there to be mended, so what it says of portgroups that have gone is no mistake.
    known = said if newest is None or newest.find(f"metadata/{_OURS}") is not None else {**said, **_rules(here)}
    _put_rules(here, rules, known, heard.waiting(said, wanted), wanted)
    changed |= not _is_again(here, ours)
    _keep(here, _RUNNING, now, wanted)
    _keep(here, _DEFINED, heard.was_defined if heard.defined is None else heard.defined, wanted)
    if _same(now, wanted) and here.find(f"metadata/{_DEFINED}") is None:
        return serialize(here) if changed else running
    _put_words(here, now, wanted)
    return serialize(here)


def as_running(text: bytes) -> bytes:
    """The text in force with what its network's running definition says."""
    here = parse(text, "network")
    now = _words(here)
    _put_words(here, now, _kept(here, _RUNNING, now))
    return serialize(here) if _drop_kept(here) else text


def _tree(text: bytes, root: str) -> etree._Element | None:
    try:
        return parse(text, root) if text else None
    except InputError:
        return None


def _put_ours(here: etree._Element, there: etree._Element | None) -> None:
    """vnetd's element of ``there`` in the place of the one that runs.

    A network that no longer is vnetd's by its definition stays so until it is stopped: its guests are on vnetd's bridge.
    """
    old = here.find(f"metadata/{_OURS}")
    new = there.find(f"metadata/{_OURS}") if there is not None else None
    if old is not None and new is not None:
        _replace(old, deepcopy(new))


def _is_again(here: etree._Element, ours: etree._Element | None) -> bool:
    """Whether vnetd's element says what ``ours`` said, which then stands there to the letter."""
    now = here.find(f"metadata/{_OURS}")
    if not _alike(now, ours):
        return False
    if now is not None:
        _replace(now, ours)
    return True


def _replace(old: etree._Element, new: etree._Element) -> None:
    new.tail = old.tail
    old.getparent().replace(old, new)


def _put_rules(here: etree._Element, old: Words, known: Words, waiting: set[Key], wanted: Words) -> None:
    """vnetd's rules for a portgroup together with libvirt's part of it, the new or the old ones.

    Rules for a portgroup that is not ``known`` stay, as the mistake that they are.
    """
    ours = here.find(f"metadata/{_OURS}")
    if ours is None:
        return
    said: set[Key] = set()
    for rules in list(ours.iterchildren(_RULES)):
        key = _group_of(rules)
        if key in waiting or (key in known and key not in wanted):
            kept = old.get(key) if key in wanted and key not in said else None
            if kept is None:
                ours.remove(rules)
            else:
                ours.replace(rules, _bare(kept))
        said.add(key)
    for key, rules in old.items():
        if key not in said and key in wanted and (key in waiting or wanted[key].get(OUTGOING) is not None):
            ours.append(_bare(rules))


def _rules(tree: etree._Element) -> Words:
    """vnetd's rules for portgroups, each by what names libvirt's part."""
    return {_group_of(rules): rules for rules in tree.iterfind(f"metadata/{_OURS}/{_RULES}")}


def _group_of(rules: etree._Element) -> Key:
    return "portgroup", rules.get("name", "")


def _words(parent: etree._Element) -> Words:
    """What an element says of ports: its ``<vlan>`` and its portgroups."""
    found: Words = {}
    for element in parent.iterchildren("vlan", "portgroup"):
        found.setdefault((str(element.tag), element.get("name", "")), element)
    return found


def _kept(tree: etree._Element, tag: str, force: Words) -> Words:
    """What a definition said that is not in force."""
    kept = tree.find(f"metadata/{tag}")
    return force if kept is None else _words(kept)


def _keep(here: etree._Element, tag: str, words: Words, force: Words) -> None:
    """Put down what a definition says, where that is not what is in force."""
    if not _same(words, force):
        metadata = here.find("metadata")
        kept = etree.SubElement(etree.SubElement(here, "metadata") if metadata is None else metadata, tag, nsmap={"kept": KEPT_NS})
        kept.extend([_bare(element) for element in words.values()])


def _drop_kept(here: etree._Element) -> bool:
    found = here.findall(f"metadata/{_RUNNING}") + here.findall(f"metadata/{_DEFINED}")
    for element in found:
        element.getparent().remove(element)
    return bool(found)


class _Heard:
    """What is heard of a network now, and what was known of it before."""

    def __init__(self, now: Words, defined: Words | None) -> None:
        self.now, self.defined = now, defined
        self.force = self.ran = self.was_defined = now

    def fold(self, used: set[str]) -> Words:
        """The words in force from now on: each from the definition that has changed last."""
        wanted: Words = {}
        fresh: set[Key] = set()
        for key in dict.fromkeys([*self.now, *(self.defined or ()), *self.force]):
            if self.defined is not None and not _alike(self.defined.get(key), self.was_defined.get(key)):
                word = self.defined.get(key)
                fresh.add(key)
            elif not _alike(self.now.get(key), self.ran.get(key)):
                word = self.now.get(key)
                fresh.add(key)
            else:
                word = self.force.get(key)
            if word is None or word.get(OUTGOING) is not None:
                word = _outgoing(key, self.force.get(key), used)
            if word is not None:
                wanted[key] = word
        return _with_one_default(wanted, fresh)

    def waiting(self, newest: Words, wanted: Words) -> set[Key]:
        """Of what the newest definition says, what has changed there and is in force when somebody says so."""
        if self.defined is not None:
            return set()
        changed = {key for key in {*newest, *self.was_defined} if not _alike(newest.get(key), self.was_defined.get(key))}
        return {key for key in changed if not _alike(newest.get(key), wanted.get(key))}


def _outgoing(key: Key, word: etree._Element | None, used: set[str]) -> etree._Element | None:
    """A portgroup that is there no more, for as long as guests use it: a slip in a definition must cut nobody off."""
    if word is None or key[0] != "portgroup" or key[1] not in used:
        return None
    word = deepcopy(word)
    word.set(OUTGOING, "yes")
    return word


def _with_one_default(words: Words, fresh: set[Key]) -> Words:
    """Words of two definitions may name two default portgroups: what was heard last counts, and what goes does not."""
    defaults = [key for key, word in words.items() if word.get("default") == "yes"]
    defaults.sort(key=lambda key: (words[key].get(OUTGOING) is not None, key not in fresh))
    for key in defaults[1:]:
        words[key] = deepcopy(words[key])
        del words[key].attrib["default"]
    return words


def _put_words(here: etree._Element, now: Words, wanted: Words) -> None:
    """``wanted`` in the place of ``now``."""
    for key, word in wanted.items():
        old = now.get(key)
        if old is None:
            here.append(_bare(word))
        elif not _alike(old, word):
            here.replace(old, _bare(word))
    for key, old in now.items():
        if key not in wanted:
            here.remove(old)


def _same(one: Words, other: Words) -> bool:
    return one.keys() == other.keys() and all(_alike(word, other[key]) for key, word in one.items())


def _alike(one: etree._Element | None, other: etree._Element | None) -> bool:
    if one is None or other is None:
        return one is other
    return serialize(_bare(one)) == serialize(_bare(other))


def _bare(element: etree._Element) -> etree._Element:
    """A copy without the blanks between elements, so that it is written one way wherever it came from."""
    found = etree.Element(element.tag, dict(sorted(element.attrib.items())))
    if element.text and element.text.strip():
        found.text = element.text
    found.extend([_bare(child) for child in element.iterchildren(tag=etree.Element)])
    return found
