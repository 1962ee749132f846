"""RFC 3161 timestamps (sigstore-verification.md, section 7)."""

from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1

from . import certificates, paths
from .algorithms import digest, signed_by
from .trustedroot import Authority, milliseconds

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_TIME = "1.2.840.113549.1.9.5"
_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@asn1.sequence
class _Algorithm:
    oid: x509.ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _SignerID:
    issuer: asn1.TLV
    serial: int


@asn1.sequence
class _Attribute:
    oid: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _SignerInfo:
    version: int
    signer: _SignerID
    digest: _Algorithm
    attributes: Annotated[asn1.SetOf[_Attribute] | None, asn1.Implicit(0)]
    algorithm: _Algorithm
    signature: bytes
    unsigned: Annotated[asn1.SetOf[_Attribute] | None, asn1.Implicit(1)]


@asn1.sequence
class _Content:
    oid: x509.ObjectIdentifier
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class _SignedData:
    version: int
    digests: asn1.SetOf[_Algorithm]
    content: _Content
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    signers: asn1.SetOf[_SignerInfo]


@asn1.sequence
class _Token:
    oid: x509.ObjectIdentifier
    content: Annotated[_SignedData, asn1.Explicit(0)]


@asn1.sequence
class _Status:
    status: int
    text: list[str] | None


@asn1.sequence
class _Response:
    status: _Status
    token: _Token


@asn1.sequence
class _Imprint:
    hash: _Algorithm
    digest: bytes


@asn1.sequence
class _Accuracy:
    seconds: int | None
    millis: Annotated[int | None, asn1.Implicit(0)]
    micros: Annotated[int | None, asn1.Implicit(1)]


@asn1.sequence
class _Name:
    # An explicit tag around one value has the same form as an implicit tag of a
    # sequence of one. asn1 supports only the latter for optional TLV.
    name: asn1.TLV


@asn1.sequence
class _Info:
    version: int
    policy: x509.ObjectIdentifier
    imprint: _Imprint
    serial: int
    time: asn1.GeneralizedTime
    accuracy: _Accuracy | None
    ordering: bool | None
    nonce: int | None
    tsa: Annotated[_Name | None, asn1.Implicit(0)]
    extensions: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


class InvalidTimestampError(Exception):
    """A timestamp is not valid."""


def stamp_time(stamp: bytes, signature: bytes, authorities: tuple[Authority, ...]) -> int:
    """Return the time of a timestamp of the signature, in Unix milliseconds.

    Raises InvalidTimestampError if no authority issued it.
    """
    try:
        response = asn1.decode_der(_Response, stamp)
        token = response.token.content
        info = asn1.decode_der(_Info, token.content.content)
        signers = token.signers.as_list()
        embedded = [
            certificates.load_certificate(asn1.encode_der(tlv))
            for tlv in (token.certificates.as_list() if token.certificates else [])
        ]
    except certificates.UNREADABLE as error:
        raise InvalidTimestampError("cannot be read") from error
    kinds = response.token.oid.dotted_string, token.content.oid.dotted_string
    if response.status.status != 0 or kinds != (_SIGNED_DATA, _TST_INFO) or len(signers) != 1:
        raise InvalidTimestampError("not a granted timestamp with one signer")
    algorithm = _HASHES.get(info.imprint.hash.oid.dotted_string)
    if algorithm is None or digest(algorithm, signature) != info.imprint.digest:
        raise InvalidTimestampError("not of the bundle's signature")
    time = milliseconds(info.time.as_datetime())
    for authority in authorities:
        if authority.valid.contains(time):
            try:
                if _issued(authority, signers[0], token.content.content, embedded, time):
                    return time
            except certificates.UNREADABLE:
                continue
    raise InvalidTimestampError("not by an authority of the trusted root")


def _issued(
    authority: Authority,
    signer: _SignerInfo,
    content: bytes,
    embedded: list[x509.Certificate],
    time: int,
) -> bool:
    own = None if certificates.is_ca(authority.certificates[0]) else authority.certificates[0]
    wanted = asn1.encode_der(signer.signer.issuer), signer.signer.serial
    for certificate in embedded or ([] if own is None else [own]):
        names = certificates.names_of(certificate)
        if (names.issuer, names.serial) != wanted:
            continue
        if own is not None and certificate != own:
            return False
        return (
            _has_usage(certificate)
            and _signed(certificate, signer, content)
            and paths.find_path(certificate, authority, paths.TIME_STAMPING, time, embedded)
            is not None
        )
    return False


def _has_usage(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return False
    return usage.critical and list(usage.value) == [paths.TIME_STAMPING]


def _signed(certificate: x509.Certificate, signer: _SignerInfo, content: bytes) -> bool:
    """Report whether the certificate's key signed the attributes, and they are about `content`."""
    algorithm = _HASHES.get(signer.digest.oid.dotted_string)
    if algorithm is None or signer.attributes is None:
        return False
    attributes = signer.attributes.as_list()
    digests = _values(attributes, _MESSAGE_DIGEST)
    if len(digests) != 1 or bytes(digests[0].parse(bytes)) != digest(algorithm, content):
        return False
    for value in _values(attributes, _SIGNING_TIME):
        utc = value.tag_bytes == b"\x17"
        signed_at = value.parse(asn1.UTCTime if utc else asn1.GeneralizedTime).as_datetime()
        if not paths.is_valid_at(certificate, milliseconds(signed_at)):
            return False
    encoded = b"".join(asn1.encode_der(attribute) for attribute in attributes)
    message = b"\x31" + _length(len(encoded)) + encoded
    return signed_by(certificate.public_key(), algorithm, message, signer.signature)


def _values(attributes: list[_Attribute], oid: str) -> list[asn1.TLV]:
    return [v for a in attributes if a.oid.dotted_string == oid for v in a.values.as_list()]


def _length(size: int) -> bytes:
    """Return the DER of a length."""
    if size < 0x80:
        return bytes([size])
    data = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(data)]) + data
