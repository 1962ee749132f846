"""The proof of a receipt: C2SP tlog-proof and RFC 6962 inclusion (receipt.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from .encoding import decode_base64_hash, parse_decimal
from .errors import FormatError
from .hashes import node_hash
from .note import Note, parse_note

MAX_PROOF_SIZE = 262_144
"""Largest proof, in bytes of UTF-8."""

MAX_CHECKPOINT_SIZE = 258_048
"""Largest checkpoint, in bytes of UTF-8."""

MAX_HASHES = 63
"""Largest number of hashes in an inclusion proof."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint: origin, number of leaves, 32-byte root hash, and the note that carries it."""

    origin: str
    size: int
    root: bytes
    note: Note


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof: index from 0, 32-byte hashes from the leaf's sibling upwards, checkpoint."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint


def parse_proof(text: str) -> Proof:
    """Read a proof without verifying it, or raise FormatError."""
    try:
        return _parse_proof(text)
    except FormatError as error:
        raise FormatError(error.message, "proof-malformed") from None


def _parse_proof(text: str) -> Proof:
    if len(text.encode("utf-8")) > MAX_PROOF_SIZE:
        raise FormatError(f"proof is longer than {MAX_PROOF_SIZE} bytes")
    head, separator, rest = text.partition("\n\n")
    first, *lines = head.split("\n")
    if first != "c2sp.org/tlog-proof@v1":
        raise FormatError("first line of the proof is not c2sp.org/tlog-proof@v1")
    if not separator or not lines or not lines[0].startswith("index "):
        raise FormatError("proof without index line, or without an empty line")
    index = parse_decimal(lines[0].removeprefix("index "))
    if len(lines) - 1 > MAX_HASHES:
        raise FormatError(f"more than {MAX_HASHES} hashes in the proof")
    hashes = tuple(decode_base64_hash(line) for line in lines[1:])
    return Proof(index=index, hashes=hashes, checkpoint=parse_checkpoint(rest))


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a signed checkpoint without extension lines, or raise FormatError.

    No signature is verified.
    """
    if len(text.encode("utf-8")) > MAX_CHECKPOINT_SIZE:
        raise FormatError(f"checkpoint is longer than {MAX_CHECKPOINT_SIZE} bytes")
    note = parse_note(text)
    lines = note.text.decode("utf-8").split("\n")
    if len(lines) != 4 or not lines[0]:
        raise FormatError("checkpoint's text is not origin, size and root hash")
    return Checkpoint(
        origin=lines[0],
        size=parse_decimal(lines[1]),
        root=decode_base64_hash(lines[2]),
        note=note,
    )


def root_from_inclusion(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """Return the root of a tree of `size` leaves that has `leaf` (a leaf hash) at `index`.

    `hashes` is the RFC 6962 §2.1.1 audit path. Raises FormatError if the index is not in the tree,
    or the path has more or fewer hashes than the leaf needs.
    """
    if index >= size:
        raise FormatError("index is not below the tree size")
    node, last = index, size - 1  # of the current level: our node, and its rightmost one
    root = leaf
    for sibling in hashes:
        if last == 0:
            raise FormatError("too many hashes in the proof")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            # A rightmost node without sibling goes up unchanged until it is a right child.
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise FormatError("too few hashes in the proof")
    return root
