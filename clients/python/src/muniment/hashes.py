"""The hashes of an entry (entry.md, section 2).

Hashes, salts and keys are 32 bytes long. Integers must fit in 64 bits unsigned; others raise
OverflowError.
"""

import hashlib
import hmac


def _sha256(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def u64(number: int) -> bytes:
    """Return `number` as 8 bytes, big-endian."""
    return number.to_bytes(8, "big")


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of `data`, without a prefix."""
    return _sha256(data)


def stream_id(stream_key: bytes) -> bytes:
    """Return the ID of the stream of `stream_key`."""
    return _sha256(b"muniment/stream/v1\n", stream_key)


def tag(stream_key: bytes, seq: int) -> bytes:
    """Return the tag of entry number `seq` (from 0) of the stream of `stream_key`."""
    return hmac.digest(stream_key, b"muniment/tag/v1\n" + u64(seq), "sha256")


def link_hash(link_salt: bytes, stream: bytes, seq: int, prev: bytes) -> bytes:
    """Return L. `stream` is the stream's ID, and `prev` the leaf hash of its previous entry."""
    return _sha256(b"muniment/link/v1\n", link_salt, stream, u64(seq), prev)


def header_hash(header_salt: bytes, header: bytes) -> bytes:
    """Return H, the salted hash of the header's bytes."""
    return _sha256(b"muniment/header/v1\n", header_salt, header)


def payload_commitment(payload_salt: bytes, payload: bytes) -> bytes:
    """Return C, the salted hash of the payload's bytes."""
    return start_commitment(payload_salt, payload).digest()


def start_commitment(payload_salt: bytes, payload: bytes = b"") -> "hashlib._Hash":
    """Return a hash object for C. Update it with the rest of the payload."""
    return hashlib.sha256(b"muniment/payload/v1\n" + payload_salt + payload)


def origin_hash(origin: str) -> bytes:
    """Return O, the hash of a log's origin."""
    return _sha256(b"muniment/origin/v1\n", origin.encode("utf-8"))


def entry_hash(origin: bytes, link: bytes, time: int, header: bytes) -> bytes:
    """Return entryHash, from O, L, the time in Unix milliseconds, and H."""
    return _sha256(b"muniment/entry/v2\n", origin, link, u64(time), header)


def leaf_data(entry_tag: bytes, entry: bytes) -> bytes:
    """Return the 65 bytes of an entry's leaf, from its tag and entryHash."""
    return b"\x02" + entry_tag + entry


def leaf_hash(data: bytes) -> bytes:
    """Return the RFC 6962 hash of a leaf with this data."""
    return _sha256(b"\x00", data)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the RFC 6962 hash of an inner node with these two children."""
    return _sha256(b"\x01", left, right)
