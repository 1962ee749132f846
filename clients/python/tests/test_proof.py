"""Inclusion proofs, against trees built by the definition in RFC 6962, and their text form."""

from collections.abc import Sequence

import pytest

from muniment import FormatError
from muniment.hashes import leaf_hash, node_hash
from muniment.proof import parse_proof, root_from_inclusion
from muniment.receipt import parse_receipt
from vectors import case


def split(size: int) -> int:
    """Return the largest power of two smaller than `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree with these leaf hashes (RFC 6962 §2.1)."""
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(tree_hash(leaves[:k]), tree_hash(leaves[k:]))


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the audit path of a leaf (RFC 6962 §2.1.1)."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), tree_hash(leaves[k:])]
    return [*path(index - k, leaves[k:]), tree_hash(leaves[:k])]


@pytest.mark.parametrize("size", range(1, 34))
def test_inclusion(size: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    root = tree_hash(leaves)
    for index, leaf in enumerate(leaves):
        hashes = path(index, leaves)
        assert root_from_inclusion(leaf, index, size, hashes) == root
        for wrong in ([*hashes, leaf], [leaf, *hashes], hashes[:-1], hashes[1:]):
            if wrong != hashes:
                assert gives(leaf, index, size, wrong) != root
        for other in range(size + 2):
            if other != index:
                assert gives(leaf, other, size, hashes) != root


def gives(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes | None:
    """Return the root that a proof yields, or None if it has the wrong length."""
    try:
        return root_from_inclusion(leaf, index, size, hashes)
    except FormatError:
        return None


def test_empty_tree_has_no_leaf() -> None:
    assert gives(bytes(32), 0, 0, []) is None


def test_largest_tree() -> None:
    largest = 2**53 - 1
    assert gives(bytes(32), largest - 1, largest, [bytes(32)] * 52) is not None
    assert gives(bytes(32), 0, largest, [bytes(32)] * 53) is not None
    assert gives(bytes(32), 0, largest, [bytes(32)] * 63) is None


HASH = "A" * 43 + "="
CHECKPOINT = f"log.example\n7\n{HASH}\n\n\N{EM DASH} log.example AAAAAAA=\n"
HEAD = "c2sp.org/tlog-proof@v1\n"


def test_proof_text() -> None:
    proof = parse_proof(f"{HEAD}index 0\n\n{CHECKPOINT}")
    assert (proof.index, proof.hashes, proof.checkpoint.size) == (0, (), 7)
    assert len(parse_proof(f"{HEAD}index 5\n{HASH}\n{HASH}\n\n{CHECKPOINT}").hashes) == 2
    assert parse_proof(f"{HEAD}index {2**53 - 1}\n\n{CHECKPOINT}").index == 2**53 - 1
    assert len(parse_proof(HEAD + "index 5\n" + f"{HASH}\n" * 63 + "\n" + CHECKPOINT).hashes) == 63


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        f"{HEAD}\n{CHECKPOINT}",
        f"{HEAD}index 0\n{CHECKPOINT}",
        f"{HEAD}index 0\n\n\n{CHECKPOINT}",
        f"{HEAD}index 00\n\n{CHECKPOINT}",
        f"{HEAD}index  0\n\n{CHECKPOINT}",
        f"{HEAD}index 0 \n\n{CHECKPOINT}",
        f"{HEAD}index 1_0\n\n{CHECKPOINT}",
        f"{HEAD}index\n\n{CHECKPOINT}",
        f"{HEAD}index {2**53}\n\n{CHECKPOINT}",
        f"{HEAD}index {'9' * 5000}\n\n{CHECKPOINT}",
        f"{HEAD}extra AAAA\nindex 0\n\n{CHECKPOINT}",
        f"{HEAD}index 0\nAAAA\n\n{CHECKPOINT}",
        f"{HEAD}index 0\n{HASH[:-2]}B=\n\n{CHECKPOINT}",
        f"{HEAD}index 0\r\n\n{CHECKPOINT}",
        HEAD + "index 5\n" + f"{HASH}\n" * 64 + "\n" + CHECKPOINT,
        f"c2sp.org/tlog-proof@v2\nindex 0\n\n{CHECKPOINT}",
        f"{HEAD}index 0\n\n{CHECKPOINT}" + "x" * 262_144,
    ],
)
def test_malformed_proofs(text: str) -> None:
    with pytest.raises(FormatError):
        parse_proof(text)


def test_largest_checkpoint() -> None:
    start = f"{CHECKPOINT}\N{EM DASH} "
    room = 258_048 - len(f"{start} AAAAAAA=\n".encode())
    for name in ("x" * room, "é" * (room // 2) + "x" * (room % 2)):
        assert parse_proof(f"{HEAD}index 0\n\n{start}{name} AAAAAAA=\n").index == 0
        with pytest.raises(FormatError, match="checkpoint exceeds"):
            parse_proof(f"{HEAD}index 0\n\n{start}{name}x AAAAAAA=\n")


def test_malformed_proofs_have_their_code() -> None:
    with pytest.raises(FormatError) as caught:
        parse_proof("")
    assert caught.value.code == "proof-malformed"


def test_receipt_has_its_proof() -> None:
    assert parse_proof(parse_receipt(case("full").receipt).proof).index == 4
