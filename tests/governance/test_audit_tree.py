"""The Merkle tree against RFC 6962: published vectors of Certificate Transparency, and the definition itself."""

from __future__ import annotations

import hashlib
import re

import pytest

from securegen.governance.audit_tree import (
    EMPTY,
    Frontier,
    consistency_proof,
    consistent,
    edge_widths,
    included,
    inclusion_proof,
    leaf_hash,
    node_hash,
    number_path,
    root_of,
    tile_path,
)

# Inputs, roots and proofs that implementations of RFC 6962 are tested with (certificate-transparency, trillian).
INPUTS = [
    bytes.fromhex(h)
    for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = re.findall(
    "[0-9a-f]{64}",
    """
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77
d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4
76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c
5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328
""",
)
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
# Of a public CT log of 3,630,887 certificates: entry 848,049 and the hashes from its sibling to the root's child.
AUDIT_PATH = re.findall(
    "[0-9a-f]{64}",
    """
1a208aeebcd1b39fe2de247ee8db9454e1e93a312d206b87f6ca9cc6ec6f1ddd 0a1b78b383f580856f433c01a5741e160d451c185910027f6cc9f828687a40c4
3d1745789bc63f2da15850de1c12a5bf46ed81e1cc90f086148b1662e79aab3d 9095b61e14d8990acf390905621e62b1714fb8e399fbb71de5510e0aef45affe
0a332b91b8fab564e6afd1dd452449e04619b18accc0ff9aa8393cd4928451f2 2336f0181d264aed6d8f3a6507ca14a8d3b3c3a23791ac263e845d208c1ee330
b4ce56e300590500360c146c6452edbede25d4ed83919278749ee5dbe178e048 933f6ddc848ea562e4f9c5cfb5f176941301dad0c6fdb9d1fbbe34fac1be6966
b95a6222958a86f74c030be27c44f57dbe313e5e7c7f4ffb98bcbd3a03bb52f2 daeeb3ce5923defd0faeb8e0c210b753b85b809445d7d3d3cd537a9aabaa9c45
7fadd0a13e9138a2aa6c3fdec4e2275af233b94812784f66bcca9aa8e989f2bc 1864e6ba3e32878610546539734fb5eeae2529991f130c575c73a7e25a2a7c56
12842d1202b1dc6828a17ab253c02e7ce9409b5192430feba44189f39cc02d66 29af64b16fa3053c13d02ac63aa75b23aa468506e44c3a2315edc85d2dc22b11
b527b99934a0bd9edd154e449b0502e2c499bba783f3bc3dfe23364b6b532009 4584db8ae8e351ace08e01f306378a92bfd43611714814f3d834a2842d69faa8
86a9a41573b0d6e4292f01e93243d6cc65b30f06606fc6fa57390e7e90ed580f a88b98fbe84d4c6aae8db9d1605dfac059d9f03fe0fcb0d5dff1295dacba09e6
06326dc617a6d1f7021dc536026dbfd5fffc6f7c5531d48ef6ccd1ed1569f2a1 f41fe8fdc3a2e4e8345e30216e7ebecffee26ff266eeced208a6c2a3cf08f960
40cf5bde8abb76983f3e98ba97aa36240402975674e120f234b3448911090f8d b3222dc8658538079883d980d7fdc2bef9285344ea34338968f736b04aeb387a
""",
)


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % i) for i in range(count)]


def defined_root(parts: list[bytes]) -> bytes:
    """MTH as RFC 6962, section 2.1 defines it, of leaf hashes."""
    if not parts:
        return hashlib.sha256(b"").digest()
    if len(parts) == 1:
        return parts[0]
    k = 1
    while 2 * k < len(parts):
        k *= 2
    return hashlib.sha256(b"\x01" + defined_root(parts[:k]) + defined_root(parts[k:])).digest()


def frontier_of(parts: list[bytes]) -> Frontier:
    made = Frontier()
    for part in parts:
        made.add(part)
    return made


def test_published_roots():
    assert leaf_hash(bytes.fromhex("101112131415161718191a1b1c1d1e1f")).hex() == (
        "3bfb960453ebaebf33727da7a1f4db38acc051d381b6da20d6d4e88f0eabfd7a"
    )
    assert node_hash(bytes(range(32)), bytes(range(32, 64))).hex() == (
        "1a378704c17da31e2d05b6d121c2bb2c7d76f6ee6fa8f983e596c2d034963c57"
    )
    hashes = [leaf_hash(d) for d in INPUTS]
    for size, root in enumerate(ROOTS):
        assert root_of(hashes[:size]).hex() == root == frontier_of(hashes[:size]).root().hex()
    assert EMPTY.hex() == ROOTS[0]


def test_published_consistency_proofs():
    hashes = [leaf_hash(d) for d in INPUTS]
    for (earlier, size), proof in CONSISTENCY.items():
        assert [h.hex() for h in consistency_proof(hashes[:size], earlier)] == proof
        roots = bytes.fromhex(ROOTS[earlier]), bytes.fromhex(ROOTS[size])
        assert consistent(earlier, size, *roots, [bytes.fromhex(h) for h in proof])


def test_an_entry_of_a_public_log():
    leaf = bytes.fromhex("7a395c866d5ecdb0cccb623e011dbc392cd348d1d1d72776174e127a24b09c78")
    root = bytes.fromhex("78316a05c9bcf14a3a4548f5b854a9adfcd46a4c034401b3ce7eb7ac2f1d0ecb")
    path = [bytes.fromhex(h) for h in AUDIT_PATH]
    assert included(leaf, 848049, 3630887, path, root)
    for index, size in [
        (848048, 3630887),
        (848049, 3630886 // 2),
        (848050, 3630887),
        (3630887, 3630887),
        (-1, 3630887),
    ]:
        assert not included(leaf, index, size, path, root)
    assert not included(leaf, 848049, 3630887, path[:-1], root)
    assert not included(leaf, 848049, 3630887, [*path, path[0]], root)
    assert not included(leaf, 848049, 3630887, [path[1], path[0], *path[2:]], root)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 21, 33])
def test_every_proof_of_small_trees(size):
    """Made ones hold, at their place only; a flipped bit, a lost or an added hash fails."""
    hashes = leaves(size)
    roots = [defined_root(hashes[:n]) for n in range(size + 1)]
    for index in range(size):
        proof = inclusion_proof(hashes, index)
        assert [i for i in range(size) if included(hashes[index], i, size, proof, roots[size])] == [index]
        assert not included(hashes[index], index, size, [*proof, EMPTY], roots[size])
        for k in range(len(proof)):
            changed = [bytes([h[0] ^ (i == k)]) + h[1:] for i, h in enumerate(proof)]
            assert not included(hashes[index], index, size, changed, roots[size])
            assert not included(hashes[index], index, size, proof[:k] + proof[k + 1 :], roots[size])
    for earlier in range(size + 1):
        proof = consistency_proof(hashes, earlier)
        assert consistent(earlier, size, roots[earlier], roots[size], proof)
        assert not consistent(earlier, size, bytes(32), roots[size], proof)
        assert not earlier or not consistent(earlier, size, roots[earlier], bytes(32), proof), "none says nothing"
        assert not consistent(earlier, size, roots[earlier], roots[size], [*proof, EMPTY])
        for k in range(len(proof)):
            assert not consistent(earlier, size, roots[earlier], roots[size], proof[:k] + proof[k + 1 :])


def test_a_fork_has_no_consistency_proof():
    """The proof of one history does not hold for another, whichever entry differs."""
    ours = leaves(20)
    for changed in range(12):
        theirs = [*ours[:changed], leaf_hash(b"another"), *ours[changed + 1 :]]
        proof = consistency_proof(theirs, 12)
        assert not consistent(12, 20, root_of(ours[:12]), root_of(theirs), proof)
        assert not consistent(12, 20, root_of(ours[:12]), root_of(theirs), consistency_proof(ours, 12))
    theirs = [*ours[:12], *leaves(25)[17:]]
    assert consistent(12, 20, root_of(ours[:12]), root_of(theirs), consistency_proof(theirs, 12)), "the same beginning"


def test_sizes_outside_the_tree_are_refused():
    for call in (lambda: inclusion_proof(leaves(3), 3), lambda: consistency_proof(leaves(3), 4)):
        with pytest.raises(ValueError):
            call()
    assert not included(b"short", 0, 1, [], b"short")
    assert not consistent(3, 2, EMPTY, EMPTY, [])
    assert not consistent(0, 2, bytes(32), EMPTY, []), "an empty log has one root"


def test_tiles_are_those_of_the_specification():
    """A tree of 70,000 entries is 273 full tiles and one of 112, then one of 256 and one of 17, then one of 1."""
    hashes = [hashlib.sha256(b"%d" % i).digest() for i in range(70_000)]
    frontier, full = Frontier(), []
    for h in hashes:
        full += frontier.add(h)
    assert [(level, index) for level, index, _ in full if level] == [(1, 0)]
    assert [index for level, index, _ in full if level == 0] == list(range(273))
    partial = [(level, index, len(tile) // 32) for level, index, tile in frontier.partial_tiles()]
    assert partial == [(0, 273, 112), (1, 1, 17), (2, 0, 1)] and edge_widths(70_000) == [112, 17, 1]
    tiles = {(level, index): tile for level, index, tile in [*full, *frontier.partial_tiles()]}
    assert tiles[0, 3] == b"".join(hashes[768:1024])
    assert tiles[1, 0][32:64] == defined_root(hashes[256:512])
    assert tiles[2, 0] == defined_root(hashes[:65536])
    assert frontier.root() == root_of(hashes) == Frontier(70_000, frontier.edge).root()
    assert Frontier(256, [[], [root_of(hashes[:256])]]).root() == root_of(hashes[:256])


def test_paths_of_tiles():
    assert number_path(1234067) == "x001/x234/067"
    assert tile_path(0, 999) == "tile/0/999" and tile_path(63, 1000, 255) == "tile/63/x001/000.p/255"
