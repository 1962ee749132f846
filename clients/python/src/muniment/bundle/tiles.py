"""Tiles, entry bundles and the tree of a bundle (bundle.md, sections 2 and 5)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ..hashes import node_hash

WIDTH = 256
"""Number of hashes or leaves of a full tile."""

LEAF_SIZE = 65
"""Size of leaf data, in bytes."""

LEAF_RECORD = 2 + LEAF_SIZE
"""Size of a leaf in an entry bundle: its length and its data, in bytes."""

LEAVES = -1
"""The level of entry bundles."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile at a level from 0, or an entry bundle at the level LEAVES.

    `width` is the number of its hashes or leaves.
    """

    level: int
    index: int
    width: int

    @property
    def name(self) -> str:
        """The name of the tile's member (C2SP tlog-tiles)."""
        digits = str(self.index)
        digits = digits.zfill((len(digits) + 2) // 3 * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        level = "entries" if self.level == LEAVES else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"log/tile/{level}/{path}{partial}"

    @property
    def size(self) -> int:
        """The size of the tile in bytes."""
        return self.width * (LEAF_RECORD if self.level == LEAVES else 32)


def _level(level: int, nodes: int) -> Iterator[Tile]:
    for index in range(nodes // WIDTH):
        yield Tile(level, index, WIDTH)
    if nodes % WIDTH:
        yield Tile(level, nodes // WIDTH, nodes % WIDTH)


def tiles(size: int) -> Iterator[Tile]:
    """Yield the tiles of the tree with `size` leaves: the entry bundles, then level by level."""
    yield from _level(LEAVES, size)
    level, nodes = 0, size
    while nodes:
        yield from _level(level, nodes)
        level, nodes = level + 1, nodes // WIDTH


def root_of(hashes: list[bytes]) -> bytes:
    """Return the root of a tree over one or more subtrees (RFC 6962 §2.1).

    All but the last have the same height.
    """
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=False)
        above = [node_hash(left, right) for left, right in pairs]
        if len(hashes) % 2:
            above.append(hashes[-1])
        hashes = above
    return hashes[0]


@dataclass(slots=True)
class Tree:
    """Computes the tiles and the root of a tree. `check` is called with each tile's hashes."""

    check: Callable[[Tile, list[bytes]], None]
    _levels: list[list[bytes]] = field(default_factory=list)
    _indexes: list[int] = field(default_factory=list)

    def add(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes, in order."""
        for leaf in leaves:
            self._add(0, leaf)

    def _add(self, level: int, node: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._indexes.append(0)
        hashes = self._levels[level]
        hashes.append(node)
        if len(hashes) < WIDTH:
            return
        self.check(Tile(level, self._indexes[level], WIDTH), hashes)
        self._indexes[level] += 1
        self._levels[level] = []
        self._add(level + 1, root_of(hashes))

    def finish(self) -> bytes:
        """Check the partial tiles, and return the root. There must be a leaf."""
        right: list[bytes] = []  # the root of what is right of the full tiles below
        for level, hashes in enumerate(self._levels):
            if hashes:
                self.check(Tile(level, self._indexes[level], len(hashes)), hashes)
            if hashes or right:
                right = [root_of(hashes + right)]
        return right[0]
