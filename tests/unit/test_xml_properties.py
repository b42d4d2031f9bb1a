"""Whatever the text, the readers answer with a value or with InputError."""

from anyxml import EXAMPLES, TREES, UUID, build, mutate, quick, read_all, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

HOOK = b"<hookData>" + EXAMPLES[0] + f"<networkport><uuid>{UUID}</uuid><mac address='52:54:00:00:00:01'/></networkport></hookData>".encode()
SNIPPETS = st.sampled_from(
    [b"<", b">", b"&", b"&e;", b"<!DOCTYPE a>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?x?>", b"'", b'"', b"\0", b"\xff", b":"]
)


@quick
@given(st.binary(max_size=400))
def test_any_bytes(data):
    read_all(data)


@quick
@given(st.sampled_from([*EXAMPLES, HOOK]), st.data())
def test_examples_cut_and_spliced(text, data):
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    read_all(text[:begin] + data.draw(SNIPPETS | st.binary(max_size=8)) + text[end:])


@quick
@given(st.sampled_from(["network", "domain", "interface", "hookData", "networkport"]), TREES)
def test_any_tree(root, plain):
    read_all(etree.tostring(build(("", root, *plain[2:])), encoding="utf-8"))


@settings(quick, max_examples=600)
@given(st.sampled_from([*EXAMPLES, HOOK]), st.data())
def test_mutated_examples(text, data):
    root = tree(text)
    for _ in range(data.draw(st.integers(1, 4))):
        mutate(data, root)
    read_all(etree.tostring(root, encoding="utf-8"))
