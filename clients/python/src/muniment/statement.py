"""What a verified receipt proves and claims, and its report (receipt.md, section 5)."""

from dataclasses import dataclass
from typing import Any

from . import hashes
from .receipt import Header


@dataclass(frozen=True, slots=True)
class Statement:
    """What a verified receipt proves, and what the log claims.

    Proven: `index` counts from 0 and `size` is the number of leaves. Hashes are 32 bytes.
    `stream_id`, `seq` and `prev` are None for the form shared; `header`, the header's bytes, is
    None if it is erased; `payload_sha256` and `external_sha256` are None if payload and evidence
    kept elsewhere were not checked. `tag_checked` reports whether a stream key was given. `signers`
    are `<key name>+<key hash>`, sorted. `policy` is the name of the first accepting policy, and
    `witnessed` whether its quorum requires a witness.

    Claimed: `time`, in Unix milliseconds, `claims`, the parsed header, and `erased`, the names of
    the parts that the receipt claims to be erased.
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
        """Whether the bytes of the evidence itself were checked."""
        if self.external_sha256 is not None:
            return True
        by_reference = self.claims is not None and self.claims.external_size is not None
        return self.payload_sha256 is not None and not by_reference

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of receipt.md, section 5, in their order."""
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
        """Return `proven`, `claimed`, `content` and `warnings` of the report, as JSON values."""
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
    """Return the members that are not None, byte strings in hexadecimal."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in members.items()
        if value is not None
    }
