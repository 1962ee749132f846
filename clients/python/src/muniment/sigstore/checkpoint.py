"""Promises, checkpoints and proofs of logs (sigstore-verification.md, section 6)."""

import base64
import hashlib
import re

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..encoding import decode_base64_hash, parse_decimal
from ..errors import FormatError
from ..hashes import leaf_hash
from ..note import Note, parse_note
from ..proof import root_from_inclusion
from .algorithms import Key, algorithm_of, signed_by, spki
from .bundle import Entry, Proof
from .errors import NotVerified
from .trustedroot import Log

_MAX_SIZE = 1 << 20
_V1_ORIGIN = re.compile(r".* - [0-9]+", re.ASCII)


def check_promise(entry: Entry, log: Log) -> None:
    """Perform step 4.3. Raises NotVerified."""
    if not log.valid.contains(entry.integrated_time * 1000):
        raise NotVerified("log-validity", "the log's key is not valid at the time of the entry")
    body = base64.b64encode(entry.body).decode("ascii")
    text = (
        f'{{"body":"{body}","integratedTime":{entry.integrated_time},'
        f'"logID":"{entry.log.hex()}","logIndex":{entry.index}}}'
    ).encode("ascii")
    promise = entry.promise or b""
    if entry.is_v2 or not _is_p256(log.key) or not signed_by(log.key, "sha256", text, promise):
        raise NotVerified("promise-signature", "the inclusion promise was not signed by the log")


def check_proof(entry: Entry, proof: Proof, log: Log) -> None:
    """Perform step 4.4. Raises NotVerified."""
    try:
        size, root = _open_checkpoint(entry, proof.checkpoint, log)
    except (FormatError, UnicodeEncodeError) as error:
        raise NotVerified("checkpoint-invalid", f"checkpoint: {error}") from None
    if (size, root) != (proof.size, proof.root):
        reason = "the checkpoint is of another tree than the inclusion proof"
        raise NotVerified("checkpoint-mismatch", reason)
    if entry.is_v2 and entry.index != proof.index:
        reason = "the entry and its inclusion proof have different indexes"
        raise NotVerified("checkpoint-mismatch", reason)
    try:
        found = root_from_inclusion(leaf_hash(entry.body), proof.index, size, proof.hashes)
    except FormatError as error:
        raise NotVerified("inclusion", error.message) from None
    if found != root:
        raise NotVerified("inclusion", "the proof does not lead to the checkpoint's root")


def _is_p256(key: Key) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"


def _open_checkpoint(entry: Entry, checkpoint: str, log: Log) -> tuple[int, bytes]:
    """Return the size and the root of a checkpoint that the log signed. Raises FormatError."""
    if len(checkpoint.encode("utf-8")) > _MAX_SIZE:
        raise FormatError("too long")
    note = parse_note(checkpoint)
    lines = note.text.decode("utf-8").split("\n")
    if len(lines) < 4 or not lines[0]:
        raise FormatError("fewer than three lines")
    origin, size, root = lines[0], parse_decimal(lines[1]), decode_base64_hash(lines[2])
    if entry.is_v2:
        if not log.host or origin != log.host:
            raise FormatError("the origin is not the host of the log's URL")
        _check_v2(note, origin, log.key)
    else:
        _check_v1(note, origin, log.key)
    return size, root


def _check_v1(note: Note, origin: str, key: Key) -> None:
    if not _is_p256(key) or _V1_ORIGIN.fullmatch(origin) is None:
        raise FormatError("not a checkpoint of a log of Rekor v1")
    expected = _key_hash(origin, key)
    for line in note.signatures:
        signed = signed_by(key, "sha256", note.text, line.signature)
        if line.key_hash != expected or not signed:
            raise FormatError("not signed by the log")


def _check_v2(note: Note, origin: str, key: Key) -> None:
    algorithm = algorithm_of(key)
    if algorithm is None:
        raise FormatError("the type of the log's key is not supported")
    usual = algorithm.hashes[0] if algorithm.hashes else None
    expected = origin, _key_hash(origin, key)
    for line in note.signatures:
        if (line.name, line.key_hash) == expected:
            if not signed_by(key, usual, note.text, line.signature):
                raise FormatError("wrong signature of the log")
            return
    raise FormatError("not signed by the log")


def _key_hash(name: str, key: Key) -> bytes:
    data = spki(key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        data = name.encode("utf-8") + b"\n\x01" + raw
    elif isinstance(key, rsa.RSAPublicKey):
        data = name.encode("utf-8") + b"\n\xffPKIX-RSA-PKCS#1v1.5" + data
    return hashlib.sha256(data).digest()[:4]
