"""Verification of an evidence bundle, in the steps of bundle.md, section 5."""

import hashlib
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import hashes
from ..encoding import HASH_SIZE, parse_decimal
from ..errors import FormatError, NotVerified
from ..kinds import KindName
from ..policy import Policy
from ..proof import (
    MAX_CHECKPOINT_SIZE,
    Checkpoint,
    parse_checkpoint,
    parse_proof,
    root_from_inclusion,
)
from ..receipt import Link, parse_receipt
from ..verify import find_policy
from .archive import BundleSource, Source
from .errors import BundleError
from .manifest import CHECKPOINT, payload_name, receipt_name
from .opened import Bundle
from .records import Record, records
from .tiles import Tile, Tree

MAX_RECEIPT_SIZE = 16 << 20
"""Size limit of the receipts in a bundle, in bytes."""

_IDENTITY = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_TAGS = 1 << 18  # tags in memory at a time


@dataclass(frozen=True, slots=True)
class BundleReport:
    """What a verified bundle proves (bundle.md, section 5).

    - `identity`: that of the bundle, `sha256:` and the digest of its manifest.
    - `origin`, `size`, `root`: the log's origin, the number of its leaves, and the root hash.
    - `tenant`, `time`: whose evidence it is, and the time of its reports in Unix milliseconds.
    - `stream_id`, `last`: the ID of the stream, and the leaf hash of its last entry.
    - `entries`, `included`, `omitted`: the number of entries of the stream, and of those whose
      payload is in the bundle or omitted. `erased` are the indexes of those with erased payloads.
    - `complete`: whether the stream key was given. Otherwise the end of the stream can be missing.
    - `signers`, `policy`, `witnessed`: the keys of the accepting policy that signed the checkpoint,
      the policy's name, and whether it requires a witness.

    The reports in the bundle are not compared with the evidence (step 11). They are the creator's
    account.
    """

    identity: str
    origin: str
    tenant: str
    size: int
    root: bytes
    time: int
    stream_id: bytes
    entries: int
    last: bytes
    included: int
    omitted: int
    erased: tuple[int, ...]
    complete: bool
    signers: tuple[str, ...]
    policy: str
    witnessed: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not proven, in the order of bundle.md, section 5."""
        found = {
            "not-witnessed": not self.witnessed,
            "completeness-not-checked": not self.complete,
            "reports-not-compared": True,
        }
        return tuple(warning for warning, applies in found.items() if applies)

    def to_json(self) -> dict[str, Any]:
        """Return the members of `report` in the vectors (bundle.md, section 8)."""
        return {
            "identity": self.identity,
            "origin": self.origin,
            "tenant": self.tenant,
            "size": self.size,
            "entries": self.entries,
            "included": self.included,
            "omitted": self.omitted,
            "erased": len(self.erased),
            "complete": self.complete,
            "warnings": list(self.warnings),
        }


def verify(
    bundle: BundleSource,
    policies: Sequence[Policy],
    *,
    stream_key: bytes | None = None,
    identity: str | None = None,
    tenant: str | None = None,
    visit: Callable[[Record], None] | None = None,
) -> BundleReport:
    """Verify an evidence bundle, and return what it proves. It performs steps 1 to 10.

    The checkpoint must satisfy at least one of `policies`. Without the 32-byte `stream_key`, the
    end of the stream can be missing. `identity` (`sha256:` and 64 lowercase hexadecimal digits) and
    `tenant` are expectations. The bundle is read in pieces, and needs not fit in memory. If it is
    verified, `visit` is called with each record, in the order of the stream.

    Raises BundleError, and nothing else.
    """
    check_inputs(policies, stream_key, identity, tenant)
    with Source(bundle) as source:
        opened, report = verify_source(source, policies, stream_key, identity, tenant)
        if visit is not None:
            for record in records(opened):
                visit(record)
        return report


def check_inputs(
    policies: Sequence[Policy],
    stream_key: bytes | None,
    identity: str | None,
    tenant: str | None,
) -> None:
    """Raise BundleError if the inputs besides the bundle are faulty (step 0)."""
    if not policies:
        raise BundleError("policy-missing", "no trust policy was given")
    if stream_key is not None and len(stream_key) != HASH_SIZE:
        raise BundleError("stream-key-malformed", f"a stream key has {HASH_SIZE} bytes")
    if tenant == "":
        raise BundleError("expectation-malformed", "the expected tenant is empty")
    if identity is not None and _IDENTITY.fullmatch(identity) is None:
        reason = "the expected identity must be sha256: and 64 lowercase hexadecimal digits"
        raise BundleError("expectation-malformed", reason)


def verify_source(
    source: Source,
    policies: Sequence[Policy],
    stream_key: bytes | None,
    identity: str | None,
    tenant: str | None,
) -> tuple[Bundle, BundleReport]:
    """Perform steps 1 to 10 with inputs that were checked. Raises BundleError."""
    opened = Bundle(source)
    steps = _Steps(opened)
    steps.check_digests()
    policy, signers = steps.accept_checkpoint(policies)
    _check_tree(opened)
    steps.read_records()
    steps.check_erasures()
    steps.check_payloads()
    if stream_key is not None:
        steps.check_completeness(stream_key)
    manifest = opened.manifest
    if identity not in (None, opened.identity):
        raise BundleError("identity-mismatch", "the bundle has another identity")
    if tenant not in (None, manifest.tenant):
        raise BundleError("tenant-mismatch", "the bundle is of another tenant")
    return opened, BundleReport(
        identity=opened.identity,
        origin=manifest.origin,
        tenant=manifest.tenant,
        size=manifest.size,
        root=manifest.root,
        time=manifest.time,
        stream_id=manifest.stream_id,
        entries=manifest.entries,
        last=manifest.last,
        included=steps.included,
        omitted=steps.omitted,
        erased=tuple(steps.erased),
        complete=stream_key is not None,
        signers=signers,
        policy=policy.name,
        witnessed=policy.asks_for_witness,
    )


def _check_tree(bundle: Bundle) -> None:
    """Perform step 5."""
    different: list[str] = []  # the first one is reported after a wrong root

    def check(tile: Tile, nodes: list[bytes]) -> None:
        if not different and bundle.read(tile.name) != b"".join(nodes):
            different.append(tile.name)

    tree = Tree(check)
    for leaves in bundle.all_leaves():
        tree.add(hashes.leaf_hash(leaf) for leaf in leaves)
    if tree.finish() != bundle.manifest.root:
        raise BundleError("tree-root", "the leaves have another root than the manifest")
    if different:
        raise BundleError("tile-mismatch", f"{different[0]}: not the tile of the leaves")


@dataclass(slots=True)
class _Steps:
    """The progress of a verification. `indexes` are those of the records, in order."""

    bundle: Bundle
    checkpoint: bytes = b""
    indexes: "array[int]" = field(default_factory=lambda: array("Q"))
    states: bytearray = field(default_factory=bytearray)
    erased_by: dict[int, bool] = field(default_factory=dict)  # also the header
    included: int = 0
    omitted: int = 0
    erased: list[int] = field(default_factory=list)

    def check_digests(self) -> None:
        """Perform step 3."""
        for member, file in zip(self.bundle.manifest.members, self.bundle.files, strict=True):
            digest = hashlib.sha256()
            for piece in self.bundle.source.pieces(file):
                digest.update(piece)
            if digest.digest() != member.sha256:
                reason = f"{member.name}: it has another digest than in the manifest"
                raise BundleError("member-digest", reason)

    def accept_checkpoint(self, policies: Sequence[Policy]) -> tuple[Policy, tuple[str, ...]]:
        """Perform step 4. Return the accepting policy, and the keys that signed."""
        file = self.bundle.find(CHECKPOINT)
        if file is None or file.size > MAX_CHECKPOINT_SIZE:
            reason = f"{CHECKPOINT}: more than {MAX_CHECKPOINT_SIZE} bytes"
            raise BundleError("checkpoint-malformed", reason)
        self.checkpoint = self.bundle.read(CHECKPOINT)
        try:
            checkpoint: Checkpoint = parse_checkpoint(self.checkpoint.decode("utf-8"))
        except (FormatError, UnicodeDecodeError) as error:
            raise BundleError("checkpoint-malformed", f"{CHECKPOINT}: {error}") from None
        try:
            accepted = find_policy(checkpoint, policies)
        except NotVerified as error:
            raise BundleError(error.code, f"{CHECKPOINT}: {error.message}") from None
        manifest = self.bundle.manifest
        found = checkpoint.origin, checkpoint.size, checkpoint.root
        if found != (manifest.origin, manifest.size, manifest.root):
            raise BundleError("checkpoint-mismatch", f"{CHECKPOINT}: not that of the manifest")
        return accepted

    def read_records(self) -> None:
        """Perform step 6, and note the erasures."""
        for record in records(self.bundle):
            self.indexes.append(record.index)
            self.states.append((record.payload == "erased") << 1 | (record.header is None))
            if record.header is None or record.header.kind != KindName.ERASURE:
                continue
            try:
                index = parse_decimal(record.attributes.get("entry", ""))
            except FormatError:
                continue
            scope = record.attributes.get("scope")
            if index < record.index and scope in ("payload", "header-and-payload"):
                also = scope == "header-and-payload" or self.erased_by.get(index, False)
                self.erased_by[index] = also

    def check_erasures(self) -> None:
        """Perform step 7."""
        for index, state in zip(self.indexes, self.states, strict=True):
            also = self.erased_by.get(index)
            if (also is not None) << 1 | bool(also) != state:
                reason = f"entry {index}: what is erased differs from the recorded erasures"
                raise BundleError("erasure-mismatch", reason)

    def check_payloads(self) -> None:
        """Perform step 8."""
        manifest = self.bundle.manifest
        for record in records(self.bundle):
            if record.header is None or record.payload == "erased":
                self.erased.append(record.index)
            elif record.payload == "omitted":
                self.omitted += 1
                if manifest.needs(record.header, record.time):
                    reason = f"entry {record.index}: the selection requires its payload"
                    raise BundleError("payload-omitted", reason)
            else:
                self.included += 1
                self._check_payload(record)
        found = sum(member.role in ("payload", "receipt") for member in manifest.members)
        if found > 2 * self.included:
            raise BundleError("payload-unexpected", "a member of evidence/ belongs to no record")

    def _check_payload(self, record: Record) -> None:
        header, salt = record.header, record.payload_salt
        assert header is not None
        assert salt is not None
        name = payload_name(record.index, str(header.members["mediaType"]))
        file, receipt = self.bundle.find(name), self.bundle.find(receipt_name(record.index))
        if file is None or receipt is None:
            reason = f"entry {record.index}: its payload or its receipt is missing"
            raise BundleError("payload-missing", reason)
        commitment = hashes.start_commitment(salt)
        for piece in self.bundle.source.pieces(file):
            commitment.update(piece)
        if (file.size, commitment.digest()) != (header.payload_size, header.commitment):
            raise BundleError("payload-mismatch", f"{name}: not the payload of the entry")
        problem = "too large"
        if receipt.size <= MAX_RECEIPT_SIZE:
            try:
                problem = self._compare_receipt(record, self.bundle.read(receipt.name))
            except FormatError as error:
                problem = error.message
        if problem:
            raise BundleError("receipt-mismatch", f"{receipt.name}: {problem}")

    def _compare_receipt(self, record: Record, text: bytes) -> str:
        """Return how a receipt differs from its record, empty if it does not (step 8.4)."""
        manifest = self.bundle.manifest
        found = parse_receipt(text)
        proof = parse_proof(found.proof)
        link = Link(record.link_salt, manifest.stream_id, record.seq, record.prev)
        if found.form != "detached" or found.payload is None:
            return "not detached"
        if (found.tag, found.time, found.link) != (record.tag, record.time, link):
            return "its place in the stream differs from that in the record"
        if (found.header, found.payload.salt) != (record.opening, record.payload_salt):
            return "its openings differ from those in the record"
        if proof.index != record.index:
            return "its proof is for another entry"
        if found.proof.partition("\n\n")[2].encode("utf-8") != self.checkpoint:
            return f"its checkpoint is not the one in {CHECKPOINT}"
        root = root_from_inclusion(record.leaf_hash, record.index, manifest.size, proof.hashes)
        return "" if root == manifest.root else "its proof does not lead to the root"

    def check_completeness(self, stream_key: bytes) -> None:
        """Perform step 9. Its memory is bounded: it looks for a part of the tags at a time."""
        manifest = self.bundle.manifest
        if hashes.stream_id(stream_key) != manifest.stream_id:
            raise BundleError("stream-key-mismatch", "the stream key is that of another stream")
        for start in range(0, manifest.size, _TAGS):
            end = min(start + _TAGS, manifest.size)
            tags = {hashes.tag(stream_key, seq): seq for seq in range(start, end)}
            self._check_tags(tags, start, end)

    def _check_tags(self, tags: dict[bytes, int], start: int, end: int) -> None:
        """Check the leaves against the tags of the sequence numbers from `start` to `end`."""
        own, index = 0, 0
        for leaves in self.bundle.all_leaves():
            for leaf in leaves:
                expected = None
                if own < len(self.indexes) and self.indexes[own] == index:
                    expected = own if start <= own < end else None
                    own += 1
                if tags.get(leaf[1:33]) != expected:
                    reason = f"entry {index} of the log has a tag that is not that of its record"
                    raise BundleError("stream-incomplete", reason)
                index += 1
