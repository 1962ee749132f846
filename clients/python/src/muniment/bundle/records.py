"""The records of a bundle, one for each entry of the stream (bundle.md, section 4)."""

from collections.abc import Iterator
from dataclasses import dataclass

from .. import hashes
from ..errors import FormatError
from ..receipt import Header, SaltedHeader, parse_header
from ..strictjson import as_hash, as_integer, as_members, as_string, parse_object
from .archive import PIECE
from .errors import BundleError
from .manifest import entries_name
from .opened import Bundle
from .tiles import WIDTH

_ENTRIES_SIZE = 1 << 20
_MAX_LINE = 8 << 20
_MAX_VALUES = 16  # a record has at most 8


@dataclass(frozen=True, slots=True)
class Record:
    """An entry of the stream.

    - `index`, `time`: its index in the log, and its time in Unix milliseconds.
    - `seq`, `prev`, `link_salt`, `tag`, `leaf_hash`: its place in the stream, and its leaf.
    - `opening`, `header`: the salted bytes of its header, and the parsed header. None if erased.
    - `payload`: `included`, `omitted` or `erased`. `payload_salt` is set if it is included.

    Salts, tags and hashes are 32 bytes long.
    """

    index: int
    time: int
    seq: int
    prev: bytes
    link_salt: bytes
    tag: bytes
    leaf_hash: bytes
    opening: SaltedHeader | None
    header: Header | None
    payload: str
    payload_salt: bytes | None

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of the header. Empty if there are none, or the header was erased."""
        found = None if self.header is None else self.header.members.get("attributes")
        return {} if not isinstance(found, dict) else {k: str(v) for k, v in found.items()}


@dataclass(frozen=True, slots=True)
class _Line:
    """The members of a record's line."""

    index: int
    time: int
    link_salt: bytes
    opening: SaltedHeader | None
    header_hash: bytes
    payload: str
    payload_salt: bytes | None


def _parse_line(line: bytes) -> _Line:
    document = parse_object(line, max_values=_MAX_VALUES)
    state = document.get("payload")
    required = {"index", "time", "linkSalt", "payload"}
    required |= {"header", "headerSalt"} if "header" in document else {"headerHash"}
    required |= {"payloadSalt"} if state == "included" else set()
    members = as_members(document, "record", required)
    if state not in ("included", "omitted", "erased"):
        raise FormatError("payload: not a state of a payload")
    opening = None
    if "header" in members:
        content = as_string(members["header"], "header", empty=True).encode("utf-8")
        opening = SaltedHeader(as_hash(members["headerSalt"], "headerSalt"), content)
    return _Line(
        index=as_integer(members["index"], "index"),
        time=as_integer(members["time"], "time"),
        link_salt=as_hash(members["linkSalt"], "linkSalt"),
        opening=opening,
        header_hash=(
            as_hash(members["headerHash"], "headerHash")
            if opening is None
            else hashes.header_hash(opening.salt, opening.content)
        ),
        payload=str(state),
        payload_salt=(
            as_hash(members["payloadSalt"], "payloadSalt") if state == "included" else None
        ),
    )


def _lines(bundle: Bundle, at: int) -> Iterator[bytes]:
    """Yield the lines of the member number `at`, each with its line feed."""
    name = bundle.files[at].name
    pending = bytearray()
    for piece in bundle.source.pieces(bundle.files[at]):
        start = len(pending)
        pending += piece
        begin = 0
        while (end := pending.find(b"\n", start)) >= 0:
            if end + 1 - begin > _MAX_LINE:
                break
            yield bytes(pending[begin : end + 1])
            begin = start = end + 1
        del pending[:begin]
        if len(pending) > _MAX_LINE:
            raise BundleError("record-malformed", f"{name}: a line is too long")
    if pending:
        raise BundleError("record-malformed", f"{name}: the last line has no line feed")


assert _MAX_LINE % PIECE == 0


def records(bundle: Bundle) -> Iterator[Record]:
    """Yield the records in the order of the stream, after checking each (step 6).

    Raises BundleError. The end of the stream is checked after the last record.
    """
    scan = _Scan(bundle)
    short = False
    for at, member in enumerate(bundle.manifest.members):
        if member.role != "entries":
            continue
        if short:
            raise BundleError("record-malformed", "a member with records ends too early")
        yield from scan.member(at)
        short = member.size < _ENTRIES_SIZE
    scan.end()


class _Scan:
    """The progress of reading the records."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._origin = hashes.origin_hash(bundle.manifest.origin)
        self._seq = 0
        self._index = -1
        self._time = 0
        self._last = bytes(32)
        self._tile = -1
        self._leaves: list[bytes] = []

    def member(self, at: int) -> Iterator[Record]:
        """Yield the records of a member."""
        name = self._bundle.files[at].name
        read, first = 0, True
        for line in _lines(self._bundle, at):
            if read >= _ENTRIES_SIZE:
                reason = f"{name}: a record follows the one that completes the member"
                raise BundleError("record-malformed", reason)
            read += len(line)
            try:
                parsed = _parse_line(line)
            except FormatError as error:
                reason = f"{name}: record {self._seq} of the stream: {error.message}"
                raise BundleError("record-malformed", reason) from None
            if first and entries_name(parsed.index) != name:
                reason = f"{name}: its first record is that of entry {parsed.index}"
                raise BundleError("record-malformed", reason)
            first = False
            yield self._record(parsed)
        if first:
            raise BundleError("record-malformed", f"{name}: it has no records")

    def _record(self, line: _Line) -> Record:
        manifest = self._bundle.manifest
        if not self._index < line.index < manifest.size or line.time < self._time:
            reason = f"entry {line.index}: beyond the tree, or not after the record before it"
            raise BundleError("record-order", reason)
        header = None if line.opening is None else self._header(line.index, line.opening.content)
        leaf = self._leaf(line.index)
        link = hashes.link_hash(line.link_salt, manifest.stream_id, self._seq, self._last)
        entry = hashes.entry_hash(self._origin, link, line.time, line.header_hash)
        if self._seq > line.index or leaf[33:] != entry:
            reason = f"entry {line.index}: its record does not open its leaf"
            raise BundleError("record-leaf", reason)
        record = Record(
            index=line.index,
            time=line.time,
            seq=self._seq,
            prev=self._last,
            link_salt=line.link_salt,
            tag=leaf[1:33],
            leaf_hash=hashes.leaf_hash(leaf),
            opening=line.opening,
            header=header,
            payload=line.payload,
            payload_salt=line.payload_salt,
        )
        self._seq += 1
        self._index, self._time, self._last = line.index, line.time, record.leaf_hash
        return record

    def _header(self, index: int, content: bytes) -> Header:
        try:
            header = parse_header(content)
        except FormatError as error:
            reason = f"entry {index}: {error.message}"
            raise BundleError("header-malformed", reason) from None
        manifest = self._bundle.manifest
        if (header.origin, header.tenant) != (manifest.origin, manifest.tenant):
            reason = f"entry {index}: its header names another log or tenant"
            raise BundleError("header-foreign", reason)
        return header

    def _leaf(self, index: int) -> bytes:
        tile, at = divmod(index, WIDTH)
        if tile != self._tile:
            self._tile, self._leaves = tile, self._bundle.leaves(tile)
        return self._leaves[at]

    def end(self) -> None:
        """Check the end of the stream (step 6.5)."""
        manifest = self._bundle.manifest
        if (self._seq, self._last) != (manifest.entries, manifest.last):
            raise BundleError("stream-mismatch", "the records are not those of the manifest")
        if manifest.time < self._time:
            raise BundleError("stream-mismatch", "the bundle's time is before its last entry")
