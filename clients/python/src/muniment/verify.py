"""Verification of a receipt, in the steps of receipt.md, section 4."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from . import hashes
from .encoding import HASH_SIZE
from .errors import CallerError, FormatError, NotVerified
from .expectations import ByteSource, parse_expectations, pieces
from .policy import Policy, PolicyRefusal
from .proof import Checkpoint, parse_proof, root_from_inclusion
from .receipt import Header, Receipt, SaltedPayload, parse_header, parse_receipt
from .statement import Statement

MAX_RECEIPT_SIZE = 256 << 20
"""Size limit of receipts, in bytes. A full receipt of this size embeds about 190 MiB of payload."""

_POLICY_CODES = (
    "checkpoint-origin",
    "checkpoint-signature",
    "checkpoint-unsigned",
    "checkpoint-quorum",
)


def verify(
    receipt: bytes,
    policies: Sequence[Policy],
    *,
    payload: ByteSource | None = None,
    external: ByteSource | None = None,
    header_only: bool = False,
    tenant: str | None = None,
    kind: str | None = None,
    subject: str | None = None,
    predicate_type: str | None = None,
    control: str | None = None,
    require_verified: bool = False,
    signer: str | None = None,
    issuer: str | None = None,
    admitted: bool = False,
    stream: str | None = None,
    stream_key: bytes | None = None,
) -> Statement:
    """Verify a receipt and return what it proves and what it claims.

    The receipt must satisfy at least one of `policies`. They are tried in order, and the first one
    that accepts is reported.

    `payload` supplies the payload of a receipt that does not contain it. If the receipt does, the
    two must be equal. With `header_only`, a receipt without a payload also verifies. A payload that
    is present is still checked. `external` is the evidence to which an entry by reference refers.

    The other arguments are expectations. One that is None or False is not checked. Gates and
    scripts should always set `tenant`, `kind` and `subject`: without them, any genuine receipt of
    the log verifies.

    - `tenant`, `kind`, `predicate_type`: the header has this value.
    - `subject`: `algorithm:value`, the digest of one of the header's subjects.
    - `control`: one of the header's controls.
    - `require_verified`: the log verified the signatures of the evidence.
    - `signer`, `issuer`: one verified signer has this identity or key ID, and this issuer.
    - `admitted`: an admission policy admitted the entry.
    - `stream`: the ID of the entry's stream, as 64 hexadecimal digits.
    - `stream_key`: 32 bytes. The entry belongs to the key's stream and carries the right tag.

    Raises NotVerified if the receipt is refused. Raises CallerError if the call is wrong: no
    policy, a malformed or empty expectation, or a receipt of more than 256 MiB.
    """
    if not policies:
        raise CallerError("policy-missing", "no policy specified")
    expectations = parse_expectations(
        tenant=tenant,
        kind=kind,
        subject=subject,
        predicate_type=predicate_type,
        control=control,
        require_verified=require_verified,
        signer=signer,
        issuer=issuer,
        admitted=admitted,
        stream=stream,
        stream_key=stream_key,
        external=external,
    )
    if len(receipt) > MAX_RECEIPT_SIZE:
        reason = f"receipt exceeds {MAX_RECEIPT_SIZE} bytes: use a detached receipt"
        raise CallerError("unreadable", reason)

    try:  # step 1
        parsed = parse_receipt(receipt)
        proof = parse_proof(parsed.proof)
    except FormatError as error:
        raise NotVerified(error.code, error.message) from None
    content = _read_payload(parsed, payload, header_only)  # steps 2 and 3
    header, header_hash = _open_header(parsed, content)  # step 4
    link_hash = _open_link(parsed, proof.index)  # step 5
    checkpoint = proof.checkpoint
    origin_hash = hashes.origin_hash(checkpoint.origin)
    entry = hashes.entry_hash(origin_hash, link_hash, parsed.time, header_hash)
    leaf = hashes.leaf_hash(hashes.leaf_data(parsed.tag, entry))  # step 6
    policy, signers = find_policy(checkpoint, policies)  # step 7
    try:
        root = root_from_inclusion(leaf, proof.index, checkpoint.size, proof.hashes)  # step 8
    except FormatError as error:
        raise NotVerified("inclusion", error.message) from None
    if root != checkpoint.root:
        raise NotVerified("inclusion", "the proof does not lead to the checkpoint's root")
    if header is not None and header.origin != checkpoint.origin:  # step 9
        reason = "the header and the checkpoint name different origins"
        raise NotVerified("origin-mismatch", reason)
    external_sha256 = expectations.check(parsed, header)  # step 10

    link = parsed.link
    return Statement(
        origin=checkpoint.origin,
        index=proof.index,
        size=checkpoint.size,
        root=root,
        leaf_hash=leaf,
        tag=parsed.tag,
        time=parsed.time,
        stream_id=None if link is None else link.stream_id,
        seq=None if link is None else link.seq,
        prev=None if link is None else link.prev,
        header=None if parsed.header is None else parsed.header.content,
        claims=header,
        header_hash=header_hash,
        payload_sha256=None if content is None else content.sha256,
        external_sha256=external_sha256,
        tag_checked=stream_key is not None,
        signers=signers,
        policy=policy.name,
        witnessed=policy.asks_for_witness,
        erased=parsed.erased,
    )


@dataclass(frozen=True, slots=True)
class _Content:
    """The facts about a payload: its commitment C', its size in bytes, and its SHA-256."""

    commitment: bytes
    size: int
    sha256: bytes


def _read_payload(receipt: Receipt, given: ByteSource | None, header_only: bool) -> _Content | None:
    """Return the facts about the payload, or None if there is no payload to check."""
    salted = receipt.payload
    if salted is None:
        if given is not None:
            reason = f"a {receipt.form} receipt takes no payload"
            raise NotVerified("payload-unexpected", reason)
        if not header_only:
            reason = f"a {receipt.form} receipt verifies only with header_only"
            raise NotVerified("payload-erased", reason)
        return None
    if given is not None:
        return _hash_payload(salted, given)
    if salted.content is not None:
        return _hash_payload(salted, salted.content)
    if not header_only:
        reason = "the receipt does not contain the payload, and none was given"
        raise NotVerified("payload-missing", reason)
    return None


def _hash_payload(salted: SaltedPayload, source: ByteSource) -> _Content:
    """Hash the payload, and compare it with the embedded one if there is one."""
    embedded = None if salted.content is None else memoryview(salted.content)
    commitment = hashes.start_commitment(salted.salt)
    plain = hashlib.sha256()
    size = 0
    for piece in pieces(source):
        if embedded is not None and embedded[size : size + len(piece)] != piece:
            break
        commitment.update(piece)
        plain.update(piece)
        size += len(piece)
    else:
        if embedded is None or len(embedded) == size:
            return _Content(commitment.digest(), size, plain.digest())
    raise NotVerified("payload-differs", "the payload differs from the one in the receipt")


def _open_header(receipt: Receipt, content: _Content | None) -> tuple[Header | None, bytes]:
    """Check the payload against the header (step 4). Return the header, if present, and H."""
    if receipt.header is None:
        if receipt.header_hash is None:
            raise AssertionError("the form has neither header nor headerHash")
        return None, receipt.header_hash
    try:
        header = parse_header(receipt.header.content)
    except FormatError as error:
        raise NotVerified(error.code, error.message) from None
    if content is not None:
        if header.payload_size != content.size:
            size = header.payload_size
            reason = f"the payload has {content.size} bytes; the header records {size}"
            raise NotVerified("payload-mismatch", reason)
        if header.commitment != content.commitment:
            raise NotVerified("payload-mismatch", "the header commits to another payload")
    return header, hashes.header_hash(receipt.header.salt, receipt.header.content)


def _open_link(receipt: Receipt, index: int) -> bytes:
    """Return L (step 5)."""
    link = receipt.link
    if link is None:
        if receipt.link_hash is None:
            raise AssertionError("the form has neither link nor linkHash")
        return receipt.link_hash
    if (link.seq == 0) != (link.prev == bytes(HASH_SIZE)):
        raise NotVerified("link-prev", "prev must be 32 zero bytes if and only if seq is 0")
    if link.seq > index:
        reason = f"sequence number {link.seq} exceeds the index {index}"
        raise NotVerified("link-seq", reason)
    return hashes.link_hash(link.salt, link.stream_id, link.seq, link.prev)


def find_policy(
    checkpoint: Checkpoint, policies: Sequence[Policy]
) -> tuple[Policy, tuple[str, ...]]:
    """Return the first policy that accepts the checkpoint, and the keys that signed it (step 7).

    The keys are as in `Policy.check`. Raises NotVerified with the furthest code of the policies.
    """
    refusals: list[PolicyRefusal] = []
    for policy in policies:
        try:
            return policy, policy.check(checkpoint.note, checkpoint.origin)
        except PolicyRefusal as refusal:
            refusals.append(refusal)
    nearest = max(refusals, key=lambda refusal: _POLICY_CODES.index(refusal.code))
    raise NotVerified(nearest.code, f"no policy accepts the checkpoint: {nearest}")
