"""Verification of a receipt, step by step as in receipt.md, section 4."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import hashes
from .encoding import HASH_SIZE
from .errors import FormatError, NotVerified
from .policy import Policy, PolicyRefusal
from .proof import Checkpoint, root_from_inclusion
from .receipt import Header, Receipt, parse_header, parse_receipt


@dataclass(frozen=True, slots=True)
class Statement:
    """What a verified receipt proves.

    `index` counts from 0 and `size` is the number of leaves; `time` is in Unix milliseconds and
    the log's claim. Hashes are 32 bytes. `stream_id`, `seq` and `prev` are None for the form
    shared; `header` (the header's bytes) is None for the form header-erased; `payload_sha256` is
    None if the payload was not checked. `signers` are `<key name>+<key hash>`, sorted.

    Not part of the proven tuple, and not compared: `policy`, the position of the first accepting
    policy among those given, and `witnessed`, whether that policy asks for a witness.
    """

    origin: str
    index: int
    size: int
    root: bytes
    leaf_hash: bytes
    tag: bytes
    time: int
    stream_id: bytes | None
    seq: int | None
    prev: bytes | None
    header: bytes | None
    header_hash: bytes
    payload_sha256: bytes | None
    signers: tuple[str, ...]
    policy: int = field(compare=False)
    witnessed: bool = field(compare=False)

    def to_json(self) -> dict[str, str | int | list[str]]:
        """Return the proven tuple in the form of the test vectors (receipt.md, section 6).

        Hashes are hexadecimal, the header is given by its SHA-256, and members that do not apply
        are absent.
        """
        members: dict[str, str | int | list[str] | bytes | None] = {
            "origin": self.origin,
            "index": self.index,
            "size": self.size,
            "root": self.root,
            "leafHash": self.leaf_hash,
            "tag": self.tag,
            "time": self.time,
            "streamId": self.stream_id,
            "seq": self.seq,
            "prev": self.prev,
            "headerSha256": None if self.header is None else hashes.sha256(self.header),
            "headerHash": self.header_hash,
            "payloadSha256": self.payload_sha256,
            "signers": list(self.signers),
        }
        return {
            name: value.hex() if isinstance(value, bytes) else value
            for name, value in members.items()
            if value is not None
        }


def verify(
    receipt: bytes,
    policies: Sequence[Policy],
    *,
    payload: bytes | None = None,
    header_only: bool = False,
    tenant: str | None = None,
    kind: str | None = None,
    subject: str | None = None,
    stream_id: bytes | None = None,
    stream_key: bytes | None = None,
) -> Statement:
    """Verify a receipt and return what it proves.

    The receipt must satisfy one of `policies`; the first one that accepts counts. `payload` is the
    payload from elsewhere. With `header_only` a receipt without any payload verifies too; a
    payload that is there is checked all the same.

    The rest are expectations, not checked where None: the header's `tenant` and `kind`; `subject`,
    as `algorithm:value`, one of the subjects' digests; `stream_id` and `stream_key`, 32 bytes
    each. Without tenant, kind and subject any valid receipt of the log will do.

    Raises NotVerified for whatever is wrong with the receipt, and ValueError only for a stream ID
    or key that is not 32 bytes long.
    """
    for name, value in (("stream_id", stream_id), ("stream_key", stream_key)):
        if value is not None and len(value) != HASH_SIZE:
            raise ValueError(f"{name} is not {HASH_SIZE} bytes long")

    try:
        parsed = parse_receipt(receipt)
    except FormatError as error:
        raise NotVerified(1, str(error)) from None
    content = _choose_payload(parsed, payload, header_only)  # step 2
    header, header_hash = _open_header(parsed, content)  # steps 3 and 4
    link_hash = _open_link(parsed)  # step 5

    entry = hashes.entry_hash(link_hash, parsed.time, header_hash)
    leaf = hashes.leaf_hash(hashes.leaf_data(parsed.tag, entry))  # step 6

    proof = parsed.proof
    checkpoint = proof.checkpoint
    accepting, signers = _find_policy(checkpoint, policies)  # step 7
    try:
        root = root_from_inclusion(leaf, proof.index, checkpoint.size, proof.hashes)
    except FormatError as error:
        raise NotVerified(8, str(error)) from None
    if root != checkpoint.root:
        raise NotVerified(8, "the proof does not lead to the checkpoint's root")
    if header is not None and header.origin != checkpoint.origin:
        raise NotVerified(9, "the header's origin is not the checkpoint's")
    _check_header(header, tenant, kind, subject)  # step 10
    _check_stream(parsed, stream_id, stream_key)

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
        header_hash=header_hash,
        payload_sha256=None if content is None else hashes.sha256(content),
        signers=signers,
        policy=accepting,
        witnessed=policies[accepting].asks_for_witness,
    )


def _choose_payload(receipt: Receipt, given: bytes | None, header_only: bool) -> bytes | None:
    """Return the payload to check, or None if only the header is wanted (step 2)."""
    if receipt.payload is None:
        if given is not None:
            raise NotVerified(2, f"a payload was given, but the form is {receipt.form}")
        if not header_only:
            raise NotVerified(2, f"form {receipt.form} verifies for the header only")
        return None
    embedded = receipt.payload.content
    if embedded is not None and given is not None and embedded != given:
        raise NotVerified(2, "the payload given is not the one in the receipt")
    content = given if embedded is None else embedded
    if content is None and not header_only:
        raise NotVerified(2, "the payload is neither in the receipt nor given")
    return content


def _open_header(receipt: Receipt, content: bytes | None) -> tuple[Header | None, bytes]:
    """Check the payload against the header (steps 3 and 4); return the header, if any, and H."""
    if receipt.header is None:
        if receipt.header_hash is None:
            raise AssertionError("the form has neither header nor headerHash")
        return None, receipt.header_hash
    try:
        header = parse_header(receipt.header.content)
    except FormatError as error:
        raise NotVerified(4, str(error)) from None
    if content is not None and receipt.payload is not None:
        commitment = hashes.payload_commitment(receipt.payload.salt, content)
        if header.commitment != commitment:
            raise NotVerified(4, "the header's commitment is not that of the payload")
        if header.payload_size != len(content):
            raise NotVerified(4, "the header's payload size is not the payload's")
    return header, hashes.header_hash(receipt.header.salt, receipt.header.content)


def _open_link(receipt: Receipt) -> bytes:
    """Return L (step 5)."""
    link = receipt.link
    if link is None:
        if receipt.link_hash is None:
            raise AssertionError("the form has neither link nor linkHash")
        return receipt.link_hash
    if (link.seq == 0) != (link.prev == bytes(HASH_SIZE)):
        raise NotVerified(5, "prev must be 32 zero bytes if and only if seq is 0")
    return hashes.link_hash(link.salt, link.stream_id, link.seq, link.prev)


def _find_policy(checkpoint: Checkpoint, policies: Sequence[Policy]) -> tuple[int, tuple[str, ...]]:
    """Return the position of the first policy that accepts, and the signers (step 7)."""
    reasons = []
    for position, policy in enumerate(policies):
        try:
            return position, policy.check(checkpoint.note, checkpoint.origin)
        except PolicyRefusal as refusal:
            reasons.append(str(refusal))
    raise NotVerified(7, "no policy accepts: " + "; ".join(reasons or ["none was given"]))


def _check_header(
    header: Header | None, tenant: str | None, kind: str | None, subject: str | None
) -> None:
    """Check what the caller expects of the header (step 10)."""
    if tenant is None and kind is None and subject is None:
        return
    if header is None:
        raise NotVerified(10, "tenant, kind or subject expected, but the header is erased")
    if tenant is not None and header.tenant != tenant:
        raise NotVerified(10, f"the tenant is {header.tenant}")
    if kind is not None and header.kind != kind:
        raise NotVerified(10, f"the kind is {header.kind}")
    if subject is not None:
        algorithm, colon, value = subject.partition(":")
        if not colon or (algorithm, value) not in header.digests:
            raise NotVerified(10, "the subject expected is not among the header's")


def _check_stream(receipt: Receipt, stream_id: bytes | None, stream_key: bytes | None) -> None:
    """Check what the caller expects of the link (step 10)."""
    if stream_id is None and stream_key is None:
        return
    link = receipt.link
    if link is None:
        raise NotVerified(10, "a stream is expected, but the receipt does not show its stream")
    if stream_id is not None and link.stream_id != stream_id:
        raise NotVerified(10, "the entry is of another stream")
    if stream_key is not None:
        if link.stream_id != hashes.stream_id(stream_key):
            raise NotVerified(10, "the entry is of another stream than the key's")
        if receipt.tag != hashes.tag(stream_key, link.seq):
            raise NotVerified(10, "the tag is not that of the key and the sequence number")
