"""Verification of a bundle, in the steps of sigstore-verification.md, section 5."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509

from ..errors import FormatError
from . import paths, sct
from .algorithms import (
    HASHES,
    SIGSTORE_HASHES,
    Algorithm,
    Key,
    algorithm_of,
    digest,
    read_key,
    signed_by,
    spki,
)
from .body import KINDS, Body, canonical_v2, read_body
from .bundle import Bare, Bundle, Entry, parse_bundle
from .certificates import UNREADABLE, load_certificate
from .checkpoint import check_promise, check_proof
from .errors import CallerError, NotVerified
from .statement import PAYLOAD_TYPE, is_one_of, subjects_of
from .timestamps import InvalidTimestampError, stamp_time
from .trustedroot import Log, TrustedRoot, parse_trusted_root

MAX_ROOTS = 16
"""Limit on the number of trusted roots."""

MAX_KEYS = 64
"""Limit on the number of keys."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An accepted identity: the `name` in the certificate, and its OIDC `issuer`."""

    name: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Signer:
    """The signer: an `identity`, or the index of the `key` in the list of keys."""

    identity: Identity | None = None
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verified bundle proves.

    `signer` is one of the accepted. `payload` and `payload_type` are those of the envelope, None
    for a bare signature. `times` are the signed times in Unix milliseconds, empty for keys.
    """

    signer: Signer
    payload_type: str | None
    payload: bytes | None
    times: tuple[int, ...]


class Trust:
    """The trusted roots, and the accepted identities or keys.

    Roots are the bytes of documents such as Sigstore's trusted_root.json. Keys are public keys in
    PEM. Raises CallerError if an input is missing or malformed: keyless verification requires
    identities with a name and an issuer.
    """

    def __init__(
        self,
        roots: Sequence[bytes],
        *,
        identities: Sequence[Identity] = (),
        keys: Sequence[bytes] = (),
    ) -> None:
        if bool(identities) == bool(keys):
            raise CallerError("policy-missing", "specify either identities or keys")
        if not all(identity.name and identity.issuer for identity in identities):
            raise CallerError("identity-missing", "an identity needs a name and an issuer")
        self._identities = tuple(identities)
        if len(keys) > MAX_KEYS:
            raise CallerError("key-malformed", f"more than {MAX_KEYS} keys")
        try:
            self._keys = tuple(read_key(key) for key in keys)
        except FormatError as error:
            raise CallerError("key-malformed", error.message) from None
        if not 1 <= len(roots) <= MAX_ROOTS:
            raise CallerError("trusted-root-malformed", f"specify 1 to {MAX_ROOTS} trusted roots")
        try:
            self._roots = tuple(parse_trusted_root(root) for root in roots)
        except FormatError as error:
            raise CallerError("trusted-root-malformed", error.message) from None

    def verify(
        self, bundle: bytes, *, artifact: bytes | None = None, artifact_sha256: bytes | None = None
    ) -> Verified:
        """Verify a bundle and return its signer and content.

        `artifact` is what was signed. An envelope can be verified with its SHA-256 instead, or with
        neither: then the caller must compare its content.

        Raises NotVerified if the bundle is refused. Raises CallerError with the code
        `artifact-missing` if the bundle has a bare signature and `artifact` is not given.
        """
        parsed = parse_bundle(bundle)
        furthest: NotVerified | CallerError | None = None
        for root in self._roots:
            for index in range(len(self._keys)) if self._keys else [None]:
                key = None if index is None else self._keys[index]
                attempt = _Attempt(parsed, root, self._identities, key, artifact, artifact_sha256)
                try:
                    signer = attempt.run()
                except (NotVerified, CallerError) as error:
                    if furthest is None or error.step > furthest.step:
                        furthest = error
                    continue
                content = parsed.content
                return Verified(
                    signer=Signer(identity=signer, key=index),
                    payload_type=None if isinstance(content, Bare) else content.payload_type,
                    payload=None if isinstance(content, Bare) else content.payload,
                    times=tuple(attempt.times),
                )
        assert furthest is not None  # there is at least one root
        raise furthest


@dataclass(slots=True)
class _Attempt:
    """The verification of a bundle under one root, with one key or none."""

    bundle: Bundle
    root: TrustedRoot
    identities: tuple[Identity, ...]
    key: Key | None
    artifact: bytes | None
    artifact_sha256: bytes | None
    message: bytes = b""
    times: list[int] = field(default_factory=list)

    def run(self) -> Identity | None:
        """Perform steps 2 to 9."""
        if self.key is None and self.bundle.certificate is None:
            raise NotVerified("material-mismatch", "the bundle was signed with a key")
        if self.key is not None and self.bundle.certificate is not None:
            raise NotVerified("material-mismatch", "the bundle was signed with a certificate")
        self._check_artifact()
        self._check_entries()
        if self.key is not None:
            self._check_signature(self.key)
            return None
        self._check_times()
        certificate, found = self._check_certificate()
        if not sct.has_scts(certificate):
            raise NotVerified("sct-missing", "the certificate has no signed certificate timestamp")
        if not _has_sct(found, self.root):
            raise NotVerified("sct-invalid", "no signed certificate timestamp is valid")
        self._check_signature(certificate.public_key())
        return self._check_identity(certificate)

    def _check_artifact(self) -> None:
        """Perform step 3."""
        content = self.bundle.content
        if isinstance(content, Bare):
            algorithm = SIGSTORE_HASHES.get(content.algorithm)
            if algorithm is None:
                raise NotVerified("algorithm-unsupported", "unsupported digest of the artifact")
            if self.artifact is None:
                raise CallerError("artifact-missing", "a bare signature is over the artifact")
            if digest(algorithm, self.artifact) != content.digest:
                raise NotVerified("artifact-mismatch", "the signature is over another artifact")
            self.message = self.artifact
            return
        kind = content.payload_type.encode("utf-8")
        sizes = len(kind), len(content.payload)
        self.message = b"DSSEv1 %d %b %d %b" % (sizes[0], kind, sizes[1], content.payload)
        if self.artifact is None and self.artifact_sha256 is None:
            return
        if content.payload_type != PAYLOAD_TYPE:
            raise NotVerified("statement-malformed", "the envelope's content is no statement")
        try:
            subjects = subjects_of(content.payload)
        except FormatError as error:
            raise NotVerified("statement-malformed", error.message) from None
        if not is_one_of(self._digests(), subjects):
            raise NotVerified("artifact-mismatch", "the artifact is not a subject")

    def _digests(self) -> dict[str, bytes]:
        if self.artifact is not None:
            return {name: digest(name, self.artifact) for name in HASHES}
        return {"sha256": self.artifact_sha256 or b""}

    def _check_entries(self) -> None:
        """Perform step 4."""
        entries = self.bundle.entries
        if not entries:
            raise NotVerified("entry-missing", "the bundle has no log entry")
        if len({(entry.log, entry.index) for entry in entries}) != len(entries):
            raise NotVerified("entry-duplicate", "two log entries have the same log and index")
        for entry in entries:
            self._check_body(entry)
            log = self._log(entry)
            if log is None:
                continue
            if entry.promise is not None:
                check_promise(entry, log)
            if entry.proof is not None:
                check_proof(entry, entry.proof, log)
        if all(self._log(entry) is None for entry in entries):
            raise NotVerified("log-unknown", "the trusted root has none of the entries' logs")

    def _log(self, entry: Entry) -> Log | None:
        return self.root.logs.get(entry.log)

    def _check_body(self, entry: Entry) -> None:
        """Perform step 4.1."""
        content = self.bundle.content
        kind = KINDS.get((entry.kind, entry.version))
        if kind is None or not (kind.bare if isinstance(content, Bare) else kind.envelope):
            raise NotVerified("entry-kind", "the log entry's kind is not supported")
        try:
            body = read_body(entry.body, entry.kind, entry.version)
        except FormatError as error:
            raise NotVerified("entry-malformed", error.message) from None
        verifier = self.bundle.certificate if self.key is None else spki(self.key)
        if body.signature != self.bundle.signature:
            raise NotVerified("entry-signature", "the log entry is about another signature")
        if body.is_key != (self.key is not None) or body.verifier != verifier:
            raise NotVerified("entry-key", "the log entry is about another certificate or key")
        if entry.is_v2:
            self._check_body_v2(entry, body)
            return
        if isinstance(content, Bare):
            expected = SIGSTORE_HASHES[content.algorithm], content.digest
        else:
            expected = "sha256", digest("sha256", content.payload)
        if (body.algorithm, body.digest) != expected:
            raise NotVerified("entry-digest", "the log entry is about other content")

    def _check_body_v2(self, entry: Entry, body: Body) -> None:
        key = self._load_certificate().public_key() if self.key is None else self.key
        algorithm = _algorithm(key)
        if not algorithm.hashes:
            raise NotVerified("algorithm-unsupported", "Ed25519ph is not supported")
        expected = digest(algorithm.hashes[0], self.message)
        if body.digest != expected:
            raise NotVerified("entry-digest", "the log entry is about other content")
        canonical = canonical_v2(
            expected,
            self.bundle.signature,
            algorithm.details,
            body.verifier or b"",
            is_key=body.is_key,
        )
        if entry.body != canonical:
            raise NotVerified("entry-malformed", "the log entry is not in its canonical form")

    def _check_times(self) -> None:
        """Perform step 5."""
        known = [e for e in self.bundle.entries if self._log(e) is not None]
        self.times = [e.integrated_time * 1000 for e in known if e.promise is not None]
        invalid = None
        for stamp in self.bundle.stamps:
            try:
                authorities = self.root.timestamp_authorities
                self.times.append(stamp_time(stamp, self.bundle.signature, authorities))
            except InvalidTimestampError as error:
                invalid = error
        if not self.times and invalid is not None:
            raise NotVerified("timestamp-invalid", f"no timestamp is valid: {invalid}")
        if not self.times:
            raise NotVerified("time-missing", "cannot establish the signing time")
        for entry in known:
            log = self._log(entry)
            if log is None or entry.promise is not None:
                continue
            if not any(log.valid.contains(time) for time in self.times):
                raise NotVerified("log-validity", "the log's key is not valid at the signing time")

    def _load_certificate(self) -> x509.Certificate:
        try:
            return load_certificate(self.bundle.certificate or b"")
        except UNREADABLE:
            raise NotVerified("certificate-malformed", "the certificate cannot be read") from None

    def _check_certificate(self) -> tuple[x509.Certificate, list[list[x509.Certificate]]]:
        """Perform step 6. Return the certificate and its paths."""
        certificate = self._load_certificate()
        _algorithm(certificate.public_key())
        logged = [e.integrated_time * 1000 for e in self.bundle.entries if e.integrated_time]
        if not all(paths.is_valid_at(certificate, time) for time in (*self.times, *logged)):
            reason = "the certificate is not valid at the signing time"
            raise NotVerified("certificate-time", reason)
        found = []
        for time in self.times:
            at = [
                path
                for authority in self.root.certificate_authorities
                if authority.valid.contains(time)
                and (path := paths.find_path(certificate, authority, paths.CODE_SIGNING, time))
            ]
            if not at:
                reason = "no authority of the trusted root issued the certificate"
                raise NotVerified("certificate-untrusted", reason)
            found += at
        return certificate, found

    def _check_signature(self, key: object) -> None:
        """Perform step 8."""
        algorithm = _algorithm(key)
        content = self.bundle.content
        hashes: tuple[str | None, ...] = algorithm.hashes or (None,)
        if isinstance(content, Bare):
            hashes = (SIGSTORE_HASHES[content.algorithm],)
            if hashes[0] not in algorithm.hashes:
                reason = "bare signatures over this digest are not supported for the key"
                raise NotVerified("algorithm-unsupported", reason)
        if not any(signed_by(key, h, self.message, self.bundle.signature) for h in hashes):
            raise NotVerified("signature", "the signature is not by the key, or over other content")

    def _check_identity(self, certificate: x509.Certificate) -> Identity:
        """Perform step 9."""
        signer = Identity(paths.subject_name(certificate), paths.issuer_name(certificate))
        if not any(identity.issuer == signer.issuer for identity in self.identities):
            raise NotVerified("issuer-mismatch", "the identity is from another issuer")
        if signer not in self.identities:
            raise NotVerified("identity-mismatch", "the certificate was issued to another identity")
        return signer


def _has_sct(found: list[list[x509.Certificate]], root: TrustedRoot) -> bool:
    try:
        return any(sct.has_valid_sct(path, root.ct_logs) for path in found)
    except (*UNREADABLE, x509.ExtensionNotFound):
        return False


def _algorithm(key: object) -> Algorithm:
    algorithm = algorithm_of(key)
    if algorithm is None:
        raise NotVerified("algorithm-unsupported", "the type of the key is not supported")
    return algorithm
