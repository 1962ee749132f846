"""The result of a verification, and its report (receipt.md, section 5)."""

from dataclasses import dataclass
from typing import Any

from . import hashes
from .receipt import Header


@dataclass(frozen=True, slots=True)
class Statement:
    """What a verified receipt proves, and what the log claims. Hashes are 32 bytes long.

    Proven:

    - `origin`, `size`, `root`: the log's origin, its number of leaves and the root hash.
    - `index`, `leaf_hash`, `tag`: the entry's index from 0, its leaf hash and its tag.
    - `stream_id`, `seq`, `prev`: its place in the stream. None in the form `shared`.
    - `header_hash`, `header`: the header's salted hash, and its bytes, or None if erased.
    - `payload_sha256`, `external_sha256`: None if the payload, or the external evidence, was not
      checked.
    - `tag_checked`: whether the tag was checked with a stream key.
    - `signers`: the keys of the policy that signed, as `<key name>+<key hash>`, sorted.
    - `policy`, `witnessed`: the name of the accepting policy, and whether it requires a witness.

    Claimed:

    - `time`: when the log recorded the entry, in Unix milliseconds.
    - `claims`: the parsed header. None if erased.
    - `erased`: the parts that the receipt claims were erased.
    """

    origin: str
    index: int
    size: int
    root: bytes
    leaf_hash: bytes
    tag: bytes
    stream_id: bytes | None
    seq: int | None
    prev: bytes | None
    header_hash: bytes
    header: bytes | None
    payload_sha256: bytes | None
    external_sha256: bytes | None
    tag_checked: bool
    signers: tuple[str, ...]
    policy: str
    witnessed: bool
    time: int
    claims: Header | None
    erased: tuple[str, ...]

    @property
    def content_checked(self) -> bool:
        """Whether the evidence itself was checked, and not only a reference to it."""
        if self.external_sha256 is not None:
            return True
        by_reference = self.claims is not None and self.claims.external_size is not None
        return self.payload_sha256 is not None and not by_reference

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the report, in the order of receipt.md, section 5."""
        found = {
            "not-witnessed": not self.witnessed,
            "content-not-checked": not self.content_checked,
            "erased": bool(self.erased),
        }
        if self.claims is not None:
            found["signature-unverified"] = self.claims.result == "unverified"
            found["signature-failed"] = self.claims.result == "failed"
            found["not-admitted"] = self.claims.admission == "recorded"
        return tuple(warning for warning, applies in found.items() if applies)

    def to_json(self) -> dict[str, Any]:
        """Return the members `proven`, `claimed`, `content` and `warnings` of the JSON report."""
        proven: dict[str, object] = {
            "origin": self.origin,
            "index": self.index,
            "size": self.size,
            "root": self.root,
            "leafHash": self.leaf_hash,
            "tag": self.tag,
            "streamId": self.stream_id,
            "seq": self.seq,
            "prev": self.prev,
            "headerHash": self.header_hash,
            "headerSha256": None if self.header is None else hashes.sha256(self.header),
            "payloadSha256": self.payload_sha256,
            "externalSha256": self.external_sha256,
            "tagChecked": self.tag_checked,
            "signers": list(self.signers),
            "policy": self.policy,
            "witnessed": self.witnessed,
        }
        claimed: dict[str, object] = {
            "time": self.time,
            "erased": list(self.erased) or None,
            "header": None if self.claims is None else self.claims.members,
        }
        return {
            "proven": _present(proven),
            "claimed": _present(claimed),
            "content": "checked" if self.content_checked else "not-checked",
            "warnings": list(self.warnings),
        }


def _present(members: dict[str, object]) -> dict[str, object]:
    """Return the members that are not None, with bytes in hexadecimal."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in members.items()
        if value is not None
    }
