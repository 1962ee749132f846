"""Verification of an export manifest, in the steps of export-manifest.md, section 7."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..bundle.archive import BundleSource
from ..encoding import HASH_SIZE
from ..errors import CallerError, FormatError, NotVerified
from ..kinds import KindName
from ..policy import Policy
from ..sigstore import Identity, SigstoreError, Trust
from ..sigstore.statement import PAYLOAD_TYPE
from ..statement import Statement
from ..verify import verify as verify_receipt
from .envelope import Envelope, parse_envelope
from .errors import ExportError
from .files import Files, check_files
from .keys import PublicKey
from .licenses import Expression, parse_expression
from .places import check_residency
from .privacy import check_privacy
from .report import ExportReport
from .requirements import Requirements
from .statement import PREDICATE_TYPE, Manifest, Signer, parse_statement
from .stream import StreamFacts, check_stream

MAX_RECEIPT_SIZE = 4 << 20
"""Size limit of the receipt of a manifest, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of a verification besides the manifest.

    - `keys`: accepted keys.
    - `identities`, `trusted_roots`: accepted identities of certificates, and the documents of the
      Sigstore trusted roots that the certificates are verified with.
    - `files`: the folder with the files of the export and nothing else, or their content.
    - `receipt`, `policies`: the receipt of the manifest's entry, and the accepted trust policies.
    - `stream`, `stream_key`: an evidence bundle of the tenant, and the 32-byte stream key.
    - `tenant`, `export`: expectations. None accepts any.
    - `requirements`: of licences, places and the privacy budget.
    """

    keys: Sequence[PublicKey] = ()
    identities: Sequence[Identity] = ()
    trusted_roots: Sequence[bytes] = ()
    files: Files | None = None
    receipt: bytes | None = None
    policies: Sequence[Policy] = ()
    stream: BundleSource | None = None
    stream_key: bytes | None = None
    tenant: str | None = None
    export: str | None = None
    requirements: Requirements = field(default_factory=Requirements)


def verify(manifest: bytes, inputs: Inputs) -> ExportReport:
    """Verify the file of an export manifest, and return what it proves.

    `manifest` are the bytes of the file, of which 1,048,577 are enough. Files and the stream are
    read in pieces, and need not fit in memory.

    Raises ExportError, and nothing else.
    """
    trust = _check_inputs(inputs)
    envelope = parse_envelope(manifest)
    signers = _check_signatures(manifest, envelope, inputs.keys, trust)
    accepted = frozenset(signers)
    statement = parse_statement(envelope.payload)
    if inputs.tenant not in (None, statement.tenant):
        raise ExportError("tenant-mismatch", "the manifest is of another tenant", 4)
    if inputs.export not in (None, statement.export_id):
        raise ExportError("export-mismatch", "the manifest is of another export", 4)
    required = inputs.requirements
    check_residency(statement, accepted, required.residency)
    _check_licenses(statement, required.licenses)
    check_privacy(statement.privacy, accepted, required.epsilon)
    if inputs.files is not None:
        check_files(statement.files, inputs.files)
    receipt, stream = _check_entry(manifest, statement, inputs)
    return ExportReport(
        manifest=statement,
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        signers=signers,
        files_checked=inputs.files is not None,
        licenses_decided=required.licenses is not None,
        residency_decided=statement.use is not None or required.residency is not None,
        receipt=receipt,
        stream=stream,
    )


def _check_inputs(inputs: Inputs) -> Trust | None:
    """Perform step 0. Return the trust in identities, None if there are none."""
    if not inputs.keys and not inputs.identities:
        raise ExportError("trust-missing", "no public key and no identity was given")
    if not all(identity.name and identity.issuer for identity in inputs.identities):
        raise ExportError("trust-missing", "an identity requires its issuer, and vice versa")
    if inputs.identities and not inputs.trusted_roots:
        raise ExportError("trust-missing", "identities require a trusted root")
    if inputs.receipt is not None and not inputs.policies:
        raise ExportError("policy-missing", "a receipt requires a trust policy")
    if inputs.stream is not None and inputs.receipt is None:
        raise ExportError("receipt-missing", "a stream requires the receipt of the manifest")
    if inputs.stream is not None and inputs.stream_key is None:
        raise ExportError("stream-key-missing", "a stream requires the stream key")
    if inputs.stream_key is not None and len(inputs.stream_key) != HASH_SIZE:
        raise ExportError("stream-key-malformed", f"a stream key has {HASH_SIZE} bytes")
    if "" in (inputs.tenant, inputs.export):
        raise ExportError("expectation-malformed", "an expectation is empty")
    if inputs.receipt is not None and len(inputs.receipt) > MAX_RECEIPT_SIZE:
        reason = f"the receipt has more than {MAX_RECEIPT_SIZE} bytes"
        raise ExportError("unreadable", reason)
    if not inputs.identities:
        return None
    try:
        return Trust(inputs.trusted_roots, identities=inputs.identities)
    except SigstoreError as error:
        raise ExportError("trust-missing", error.message) from None


def _check_signatures(
    manifest: bytes, envelope: Envelope, keys: Sequence[PublicKey], trust: Trust | None
) -> tuple[Signer, ...]:
    """Perform step 2. Return the signers."""
    message = envelope.message
    signers: dict[Signer, None] = {}
    for key in keys:
        if any(key.verifies(message, signature) for signature in envelope.signatures):
            signers[Signer(key_id=key.id)] = None
    reason = "none of the keys signed the manifest, or it was changed since"
    if trust is not None and envelope.is_bundle:
        try:
            verified = trust.verify(manifest)
        except SigstoreError as error:
            reason = error.message
        else:
            identity = verified.signer.identity
            content = verified.payload_type, verified.payload
            if identity is not None and content == (PAYLOAD_TYPE, envelope.payload):
                signers[Signer(identity=identity.name, issuer=identity.issuer)] = None
    if not signers:
        raise ExportError("signature-unverified", reason, 2)
    return tuple(signers)


def _check_licenses(manifest: Manifest, allowed: frozenset[str] | None) -> None:
    """Perform step 6."""
    try:
        expressions: list[Expression] = [parse_expression(e) for e in manifest.licenses()]
    except FormatError as error:
        raise ExportError("license-malformed", error.message, 6) from None
    for atom in (atom for expression in expressions for atom in expression.atoms()):
        if not atom.is_known:
            reason = f"{atom.text} is not in the SPDX list: for your own use LicenseRef-…"
            raise ExportError("license-unknown", reason, 6)
    if allowed is not None and not all(e.is_allowed(allowed) for e in expressions):
        raise ExportError("license-not-allowed", "a licence is not in the allow-list", 6)


def _check_entry(
    manifest: bytes, statement: Manifest, inputs: Inputs
) -> tuple[Statement | None, StreamFacts | None]:
    """Perform steps 9 and 10."""
    if inputs.receipt is None:
        return None, None
    policies = list(inputs.policies)
    try:
        receipt = verify_receipt(
            inputs.receipt,
            policies,
            payload=manifest,
            tenant=statement.tenant,
            kind=KindName.EXPORT_MANIFEST,
            predicate_type=PREDICATE_TYPE,
            stream_key=inputs.stream_key,
        )
    except NotVerified as error:
        raise ExportError(error.code, f"receipt: {error.message}", 9) from None
    except CallerError as error:
        raise ExportError(error.code, f"receipt: {error.message}") from None
    if inputs.stream is None or inputs.stream_key is None:
        return receipt, None
    stream = check_stream(inputs.stream, policies, inputs.stream_key, statement, receipt)
    return receipt, stream
