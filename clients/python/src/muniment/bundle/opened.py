"""An open bundle: its manifest and the members that match it (bundle.md, section 5, step 2)."""

import hashlib
from collections.abc import Iterator

from .archive import File, Source, read_archive
from .errors import BundleError
from .manifest import (
    CHECKPOINT,
    INDEX,
    MANIFEST,
    MAX_MANIFEST_SIZE,
    POLICY,
    Manifest,
    parse_manifest,
    role_of,
)
from .tiles import LEAF_RECORD, LEAF_SIZE, LEAVES, WIDTH, Tile, tiles

_LEAF_START = bytes([0, LEAF_SIZE, 2])


class Bundle:
    """An open bundle whose members match its manifest. Nothing else is verified yet.

    - `source`: the bytes of the file.
    - `manifest`, `identity`: the manifest, and `sha256:` with the digest of its text.
    - `files`: the members without the manifest, in the order of `manifest.members`.
    """

    def __init__(self, source: Source) -> None:
        """Perform steps 1 and 2. Raises BundleError."""
        self.source = source
        *self.files, last = read_archive(source)
        if last.name != MANIFEST:
            raise BundleError("manifest-missing", f"the last member is not {MANIFEST}")
        if last.size > MAX_MANIFEST_SIZE:
            reason = f"{MANIFEST}: more than {MAX_MANIFEST_SIZE} bytes"
            raise BundleError("manifest-malformed", reason)
        text = source.read(last.offset, last.size)
        self.identity = f"sha256:{hashlib.sha256(text).hexdigest()}"
        self.manifest: Manifest = parse_manifest(text)
        self._places = {file.name: file for file in self.files}
        self._compare()

    def _compare(self) -> None:
        """Perform step 2.3."""
        members = self.manifest.members
        if len(members) != len(self.files):
            raise _differ("it lists another number of members than the archive has")
        found = 0
        for member, file in zip(members, self.files, strict=True):
            if (member.name, member.size) != (file.name, file.size):
                raise _differ(f"{file.name}: its name or size differs from the manifest's")
            if not member.role or member.role != role_of(file.name):
                raise _differ(f"{file.name}: no member of its role has this name")
            found += member.role == "tile"
        for name in (CHECKPOINT, POLICY, INDEX):
            if name not in self._places:
                raise _differ(f"no member {name}")
        for tile in tiles(self.manifest.size):
            place = self._places.get(tile.name)
            if place is None or place.size != tile.size:
                raise _differ(f"{tile.name}: missing, or of another size")
            found -= 1
        if found:
            raise _differ("a tile that the tree does not have")

    def find(self, name: str) -> File | None:
        """Return the member with this name, or None."""
        return self._places.get(name)

    def read(self, name: str) -> bytes:
        """Return the content of a member that exists. The caller must know that it is small."""
        file = self._places[name]
        return self.source.read(file.offset, file.size)

    def leaves(self, tile: int) -> list[bytes]:
        """Return the data of up to 256 leaves, from index 256 * `tile` on (step 5.1).

        Raises BundleError.
        """
        width = min(WIDTH, self.manifest.size - tile * WIDTH)
        name = Tile(LEAVES, tile, width).name
        data = self.read(name)
        found: list[bytes] = []
        for at in range(0, len(data), LEAF_RECORD):
            if data[at : at + 3] != _LEAF_START:
                reason = f"{name}: leaf {tile * WIDTH + len(found)} is not that of an entry"
                raise BundleError("leaves-malformed", reason)
            found.append(data[at + 2 : at + LEAF_RECORD])
        return found

    def all_leaves(self) -> Iterator[list[bytes]]:
        """Yield the data of all leaves, up to 256 at a time, in order. Raises BundleError."""
        for tile in range(-(-self.manifest.size // WIDTH)):
            yield self.leaves(tile)


def _differ(message: str) -> BundleError:
    return BundleError("members-differ", f"{MANIFEST}: {message}")
