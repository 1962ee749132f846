"""Verification of files with a configuration (docs/spec/verify.md, section 3).

    configuration = Configuration.load("muniment.json")
    report = verify_receipt("build.receipt.json", configuration, tenant="acme")

Each function verifies one kind of file and returns a Report. They raise no error about the file or
the inputs: such an error is a report with the verdict `error`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .bundle import BundleError, BundleSource
from .bundle import verify as verify_archive
from .configuration import Configuration
from .encoding import decode_base64
from .errors import CallerError, FormatError, MunimentError, NotVerified
from .expectations import ByteSource
from .export import ExportError, Files
from .export import Inputs as ExportInputs
from .export import verify as verify_manifest
from .export.envelope import MAX_SIZE as MAX_MANIFEST_SIZE
from .export.verify import MAX_RECEIPT_SIZE as MAX_EXPORT_RECEIPT_SIZE
from .files import File, pieces, read
from .printable import unicode_name
from .report import Kind, Report
from .sigstore import NotVerified as SignatureRefused
from .sigstore import SigstoreError, Trust, Verified
from .sigstore.bundle import MAX_SIZE as MAX_BUNDLE_SIZE
from .sigstore.bundle import MEDIA_TYPE_PREFIX
from .sigstore.statement import PAYLOAD_TYPE, predicate_of
from .spends import StreamClaims
from .strictjson import Object, parse_object
from .verify import MAX_RECEIPT_SIZE, verify

_MAX_RECOGNIZED = 16 << 20
_PREDICATE = "https://muniment.dev/predicate/export-manifest/"


class InputError(CallerError):
    """An input other than the file is wrong. `step` is always 0."""

    @property
    def step(self) -> int:
        """The number of the step, which is always 0."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of a verification besides the file and the configuration.

    They are those of the five kinds together. One that the kind does not have is an error. Texts
    and files that are None, and flags that are False, are not given.

    - `payload`, `external`, `header_only`: of a receipt.
    - `artifact`, `artifact_sha256`: what a Sigstore bundle is about, or its SHA-256, 32 bytes.
    - `files`, `receipt`, `stream`, `export`: of an export manifest.
    - `identity`: of an evidence bundle.
    - `tenant`: of all kinds but Sigstore bundles.
    - `kind`, `subject`, `predicate_type`, `control`, `require_verified`, `signer`, `issuer`,
      `admitted`, `stream_id`: the expectations about receipts, as in `muniment.verify`.
    """

    payload: File | None = None
    external: File | None = None
    header_only: bool = False
    tenant: str | None = None
    kind: str | None = None
    subject: str | None = None
    predicate_type: str | None = None
    control: str | None = None
    require_verified: bool = False
    signer: str | None = None
    issuer: str | None = None
    admitted: bool = False
    stream_id: str | None = None
    artifact: File | None = None
    artifact_sha256: bytes | None = None
    files: Files | None = None
    receipt: File | None = None
    stream: File | None = None
    export: str | None = None
    identity: str | None = None


_RECEIPT_INPUTS = frozenset(
    [
        "payload",
        "external",
        "header_only",
        "tenant",
        "kind",
        "subject",
        "predicate_type",
        "control",
        "require_verified",
        "signer",
        "issuer",
        "admitted",
        "stream_id",
    ]
)
_INPUTS: dict[Kind, frozenset[str]] = {
    "receipt": _RECEIPT_INPUTS,
    "sigstore-bundle": frozenset({"artifact", "artifact_sha256"}),
    "export": frozenset({"files", "receipt", "stream", "tenant", "export"}),
    "stream": frozenset({"tenant"}),
    "evidence-bundle": frozenset({"identity", "tenant"}),
}


def verify_file(
    file: File,
    configuration: Configuration,
    inputs: Inputs | None = None,
    *,
    kind: Kind | None = None,
    name: str | None = None,
) -> Report:
    """Verify a file of a kind, and return the report.

    Name the kind: otherwise the sender of the file chooses it, by its content. `name` is the file's
    name in the report, by default its path.
    """
    shown = unicode_name(name or ("-" if isinstance(file, bytes) else str(file)))
    given = inputs or Inputs()
    known = kind
    try:
        known = kind or recognize(file)
        if known not in _VERIFIERS:
            known = None
            raise InputError("kind-unknown", f"{kind}: no kind of verification")
        _check_expected(known, given)
        members = _VERIFIERS[known](file, configuration, given)
    except (MunimentError, SigstoreError) as error:
        return _failed(shown, known, error)
    return Report(shown, known, "verified", **members)


def verify_receipt(
    receipt: File,
    configuration: Configuration,
    *,
    name: str | None = None,
    payload: File | None = None,
    external: File | None = None,
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
    stream_id: str | None = None,
) -> Report:
    """Verify a receipt (receipt.md, section 4).

    Set `tenant`, `kind` and `subject`: without them, any genuine receipt of the log verifies.
    `muniment.verify` documents the expectations.
    """
    inputs = Inputs(
        payload=payload,
        external=external,
        header_only=header_only,
        tenant=tenant,
        kind=kind,
        subject=subject,
        predicate_type=predicate_type,
        control=control,
        require_verified=require_verified,
        signer=signer,
        issuer=issuer,
        admitted=admitted,
        stream_id=stream_id,
    )
    return verify_file(receipt, configuration, inputs, kind="receipt", name=name)


def verify_bundle(
    bundle: File,
    configuration: Configuration,
    *,
    name: str | None = None,
    artifact: File | None = None,
    artifact_sha256: bytes | None = None,
) -> Report:
    """Verify a Sigstore bundle, signed with a certificate or a key (sigstore-verification.md).

    `artifact` is what was signed. An envelope can be verified with its SHA-256 instead.
    """
    inputs = Inputs(artifact=artifact, artifact_sha256=artifact_sha256)
    return verify_file(bundle, configuration, inputs, kind="sigstore-bundle", name=name)


def verify_export(
    manifest: File,
    configuration: Configuration,
    *,
    name: str | None = None,
    files: Files | None = None,
    receipt: File | None = None,
    stream: File | None = None,
    tenant: str | None = None,
    export: str | None = None,
) -> Report:
    """Verify an export manifest with its proofs (export-manifest.md, section 7).

    `files` is the folder with the files of the export and nothing else, or their content by name.
    `stream` is an evidence bundle of the tenant. A report without warnings needs all inputs.
    """
    inputs = Inputs(files=files, receipt=receipt, stream=stream, tenant=tenant, export=export)
    return verify_file(manifest, configuration, inputs, kind="export", name=name)


def verify_stream(
    bundle: File,
    configuration: Configuration,
    *,
    name: str | None = None,
    tenant: str | None = None,
) -> Report:
    """Verify that an evidence bundle has every entry of the tenant's stream.

    The report counts the entries by kind, and adds the recorded spends of privacy budgets.
    """
    return verify_file(bundle, configuration, Inputs(tenant=tenant), kind="stream", name=name)


def verify_evidence_bundle(
    bundle: File,
    configuration: Configuration,
    *,
    name: str | None = None,
    identity: str | None = None,
    tenant: str | None = None,
) -> Report:
    """Verify an evidence bundle (bundle.md, section 5, steps 1 to 10).

    `identity` is the bundle's expected identity: `sha256:` and 64 hexadecimal digits.
    """
    inputs = Inputs(identity=identity, tenant=tenant)
    return verify_file(bundle, configuration, inputs, kind="evidence-bundle", name=name)


# Recognition


def recognize(file: File) -> Kind:
    """Return the kind of a file by its content. Raises CallerError."""
    head = read(file, 512)
    if head[257:262] == b"ustar":
        return "evidence-bundle"
    content = read(file, _MAX_RECOGNIZED + 1)
    if len(content) > _MAX_RECOGNIZED:
        raise _unknown(f"more than {_MAX_RECOGNIZED} bytes, and no archive")
    try:
        members = parse_object(content, any_numbers=True)
    except FormatError as error:
        raise _unknown(error.message) from None
    media_type = members.get("mediaType")
    media_type = media_type if isinstance(media_type, str) else ""
    material = "verificationMaterial" in members
    if media_type.startswith("application/vnd.muniment.receipt."):
        return "receipt"
    if ("mediaType" in members or material) and _holds_manifest(members.get("dsseEnvelope")):
        return "export"
    if media_type.startswith(MEDIA_TYPE_PREFIX) or material:
        return "sigstore-bundle"
    if "payloadType" in members:
        return "export"
    raise _unknown("neither a receipt, nor a bundle, nor an export manifest")


def _holds_manifest(envelope: object) -> bool:
    payload = envelope.get("payload") if isinstance(envelope, dict) else None
    if not isinstance(payload, str):
        return False
    try:
        statement: Object = parse_object(decode_base64(payload), any_numbers=True)
    except FormatError:
        return False
    predicate_type = statement.get("predicateType")
    return isinstance(predicate_type, str) and predicate_type.startswith(_PREDICATE)


def _unknown(reason: str) -> CallerError:
    return InputError("kind-unknown", f"the kind of the file is not recognized: {reason}")


def _check_expected(kind: Kind, inputs: Inputs) -> None:
    for one in fields(inputs):
        if getattr(inputs, one.name) not in (None, False) and one.name not in _INPUTS[kind]:
            reason = f"{one.name}: a verification of the kind {kind} has no such input"
            raise InputError("input-unexpected", reason)


# Inputs


def _source(file: File | None) -> ByteSource | None:
    return None if file is None else pieces(file)


def _bundle_source(file: File) -> BundleSource:
    return file if isinstance(file, bytes) else Path(file)


def _failed(shown: str, kind: Kind | None, error: MunimentError | SigstoreError) -> Report:
    if isinstance(error, ExportError | BundleError):
        refused = error.step > 0
    else:
        refused = isinstance(error, NotVerified | SignatureRefused)
    return Report(
        shown,
        kind,
        "not-verified" if refused else "error",
        code=error.code,
        step=error.step if refused else 0,
        message=error.message,
    )


# The kinds


def _receipt(file: File, configuration: Configuration, inputs: Inputs) -> dict[str, Any]:
    statement = verify(
        read(file, MAX_RECEIPT_SIZE + 1),
        configuration.policies,
        payload=_source(inputs.payload),
        external=_source(inputs.external),
        header_only=inputs.header_only,
        tenant=inputs.tenant,
        kind=inputs.kind,
        subject=inputs.subject,
        predicate_type=inputs.predicate_type,
        control=inputs.control,
        require_verified=inputs.require_verified,
        signer=inputs.signer,
        issuer=inputs.issuer,
        admitted=inputs.admitted,
        stream=inputs.stream_id,
        stream_key=configuration.stream_key,
    )
    report = statement.to_json()
    return {
        "proven": report["proven"],
        "claimed": report["claimed"],
        "warnings": statement.warnings,
    }


def _sigstore_bundle(file: File, configuration: Configuration, inputs: Inputs) -> dict[str, Any]:
    content = read(file, MAX_BUNDLE_SIZE + 1)
    artifact, sha256 = None, inputs.artifact_sha256
    if inputs.artifact is not None:
        artifact = b"".join(pieces(inputs.artifact))
        sha256 = hashlib.sha256(artifact).digest()
    verified = _verify_signature(content, configuration, artifact, sha256)
    proven: dict[str, Any] = {"bundleSha256": hashlib.sha256(content).hexdigest()}
    identity, key = verified.signer.identity, verified.signer.key
    if identity is not None:
        proven["signer"] = {"identity": identity.name, "issuer": identity.issuer}
    elif key is not None:
        proven["signer"] = {"keyId": configuration.trusted_keys[key].key.id}
    if verified.times:
        proven["times"] = sorted(set(verified.times))
    if sha256 is not None:
        proven["artifactSha256"] = sha256.hex()
    claimed: dict[str, Any] = {}
    if verified.payload is not None:
        proven["payloadType"] = verified.payload_type
        proven["payloadSha256"] = hashlib.sha256(verified.payload).hexdigest()
        if verified.payload_type == PAYLOAD_TYPE:
            try:
                predicate_type, subjects = predicate_of(verified.payload)
            except FormatError:
                pass
            else:
                claimed = {"predicateType": predicate_type, "subjects": subjects}
    warnings = ("artifact-not-checked",) if sha256 is None else ()
    return {"proven": proven, "claimed": claimed, "warnings": warnings}


def _verify_signature(
    content: bytes, configuration: Configuration, artifact: bytes | None, sha256: bytes | None
) -> Verified:
    """Verify with the identities. If the bundle was signed with a key, verify with the keys."""
    roots, identities = configuration.trusted_roots, configuration.identities
    keys = [key.pem for key in configuration.trusted_keys]

    def run(trust: Trust) -> Verified:
        given = None if artifact is not None else sha256
        return trust.verify(content, artifact=artifact, artifact_sha256=given)

    if not identities:
        return run(Trust(roots, keys=keys))
    try:
        return run(Trust(roots, identities=identities))
    except SignatureRefused as error:
        if error.code != "material-mismatch" or not keys:
            raise
    return run(Trust(roots, keys=keys))


def _export(file: File, configuration: Configuration, inputs: Inputs) -> dict[str, Any]:
    receipt = inputs.receipt
    report = verify_manifest(
        read(file, MAX_MANIFEST_SIZE + 1),
        ExportInputs(
            keys=[key.key for key in configuration.trusted_keys],
            identities=configuration.identities,
            trusted_roots=configuration.trusted_roots,
            files=inputs.files,
            receipt=None if receipt is None else read(receipt, MAX_EXPORT_RECEIPT_SIZE + 1),
            policies=configuration.policies,
            stream=None if inputs.stream is None else _bundle_source(inputs.stream),
            stream_key=configuration.stream_key,
            tenant=inputs.tenant,
            export=inputs.export,
            requirements=configuration.requirements,
        ),
    )
    members = report.to_json()
    return {
        "proven": members["proven"],
        "claimed": members["claimed"],
        "warnings": report.warnings,
    }


def _stream(file: File, configuration: Configuration, inputs: Inputs) -> dict[str, Any]:
    if configuration.policies and configuration.stream_key is None:
        reason = "the completeness of a stream requires streamKey in the configuration"
        raise InputError("stream-key-missing", reason)
    return _archive(file, configuration, None, inputs.tenant, StreamClaims())


def _evidence_bundle(file: File, configuration: Configuration, inputs: Inputs) -> dict[str, Any]:
    return _archive(file, configuration, inputs.identity, inputs.tenant, None)


def _archive(
    file: File,
    configuration: Configuration,
    identity: str | None,
    tenant: str | None,
    claims: StreamClaims | None,
) -> dict[str, Any]:
    report = verify_archive(
        _bundle_source(file),
        configuration.policies,
        stream_key=configuration.stream_key,
        identity=identity,
        tenant=tenant,
        visit=None if claims is None else claims.add,
    )
    proven = {
        "identity": report.identity,
        "origin": report.origin,
        "tenant": report.tenant,
        "size": report.size,
        "root": report.root.hex(),
        "streamId": report.stream_id.hex(),
        "entries": report.entries,
        "last": report.last.hex(),
        "included": report.included,
        "omitted": report.omitted,
        "erased": len(report.erased),
        "complete": report.complete,
        "signers": list(report.signers),
        "policy": report.policy,
        "witnessed": report.witnessed,
    }
    found = {
        "not-witnessed": not report.witnessed,
        "completeness-not-checked": claims is None and not report.complete,
        "erased": bool(report.erased),
        "spends-unreadable": claims is not None and claims.unreadable,
        "reports-not-compared": claims is None,
    }
    return {
        "proven": proven,
        "claimed": {"time": report.time} | ({} if claims is None else claims.to_json()),
        "warnings": tuple(code for code, applies in found.items() if applies),
    }


_VERIFIERS: dict[Kind, Callable[[File, Configuration, Inputs], dict[str, Any]]] = {
    "receipt": _receipt,
    "sigstore-bundle": _sigstore_bundle,
    "export": _export,
    "stream": _stream,
    "evidence-bundle": _evidence_bundle,
}
