"""The proof in a receipt: C2SP tlog-proof and RFC 6962 inclusion (receipt.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from .encoding import decode_base64_hash, parse_decimal
from .errors import FormatError
from .hashes import node_hash
from .note import Note, parse_note

MAX_PROOF_SIZE = 262_144
"""Size limit of proofs, in bytes of UTF-8."""

MAX_CHECKPOINT_SIZE = 258_048
"""Size limit of checkpoints, in bytes of UTF-8."""

MAX_HASHES = 63
"""Limit on the number of hashes in an inclusion proof."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: the log's origin, its number of leaves, the 32-byte root, and the note."""

    origin: str
    size: int
    root: bytes
    note: Note


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof: the entry's index from 0, the 32-byte hashes of its audit path, and the checkpoint.

    `hashes` starts with the leaf's sibling.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint


def parse_proof(text: str) -> Proof:
    """Parse a proof without verifying it. Raises FormatError with the code `proof-malformed`."""
    try:
        return _parse_proof(text)
    except FormatError as error:
        raise FormatError(error.message, "proof-malformed") from None


def _parse_proof(text: str) -> Proof:
    if len(text.encode("utf-8")) > MAX_PROOF_SIZE:
        raise FormatError(f"proof exceeds {MAX_PROOF_SIZE} bytes")
    head, separator, rest = text.partition("\n\n")
    first, *lines = head.split("\n")
    if first != "c2sp.org/tlog-proof@v1":
        raise FormatError("the first line of the proof must be c2sp.org/tlog-proof@v1")
    if not separator or not lines or not lines[0].startswith("index "):
        raise FormatError("the proof has no index line, or no empty line before the checkpoint")
    index = parse_decimal(lines[0].removeprefix("index "))
    if len(lines) - 1 > MAX_HASHES:
        raise FormatError(f"the proof has more than {MAX_HASHES} hashes")
    hashes = tuple(decode_base64_hash(line) for line in lines[1:])
    return Proof(index=index, hashes=hashes, checkpoint=parse_checkpoint(rest))


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse a signed checkpoint without verifying its signatures.

    Raises FormatError if it is malformed or has extension lines.
    """
    if len(text.encode("utf-8")) > MAX_CHECKPOINT_SIZE:
        raise FormatError(f"checkpoint exceeds {MAX_CHECKPOINT_SIZE} bytes")
    note = parse_note(text)
    lines = note.text.decode("utf-8").split("\n")
    if len(lines) != 4 or not lines[0]:
        raise FormatError("a checkpoint must have three lines: origin, size and root hash")
    return Checkpoint(
        origin=lines[0],
        size=parse_decimal(lines[1]),
        root=decode_base64_hash(lines[2]),
        note=note,
    )


def root_from_inclusion(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """Return the root hash of the tree of `size` leaves with the leaf hash `leaf` at `index`.

    `hashes` is the audit path of RFC 6962 §2.1.1. Raises FormatError if the index is outside the
    tree or the path has the wrong length.
    """
    if index >= size:
        raise FormatError("the index is not below the tree size")
    node, last = index, size - 1  # our node and the rightmost node, on the current level
    root = leaf
    for sibling in hashes:
        if last == 0:
            raise FormatError("the proof has too many hashes")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            # A rightmost node without a sibling moves up unchanged until it is
            # a right child.
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise FormatError("the proof has too few hashes")
    return root
