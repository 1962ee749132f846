"""The file of a manifest (export-manifest.md, section 7, step 1)."""

from dataclasses import dataclass

from ..encoding import decode_base64
from ..errors import FormatError
from ..sigstore.statement import PAYLOAD_TYPE
from ..strictjson import Object, as_list, as_object, as_string, parse_object, quote
from .errors import ExportError

MAX_SIZE = 1 << 20
"""Size limit of the file of a manifest, in bytes."""

_MAX_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class Envelope:
    """The DSSE envelope of a manifest. `is_bundle` if it is in a Sigstore bundle."""

    payload: bytes
    signatures: tuple[bytes, ...]
    is_bundle: bool

    @property
    def message(self) -> bytes:
        """The pre-authentication encoding, which is signed."""
        kind = PAYLOAD_TYPE.encode("ascii")
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


def parse_envelope(file: bytes) -> Envelope:
    """Parse the file of a manifest. Raises ExportError."""
    try:
        payload_type, envelope = _parse(file)
    except FormatError as error:
        raise ExportError("manifest-malformed", error.message, 1) from None
    if payload_type != PAYLOAD_TYPE:
        reason = f"payloadType {quote(payload_type)} is not {PAYLOAD_TYPE}"
        raise ExportError("payload-type", reason, 1)
    return envelope


def _parse(file: bytes) -> tuple[str, Envelope]:
    if len(file) > MAX_SIZE:
        raise FormatError(f"the file has more than {MAX_SIZE} bytes")
    members = parse_object(file, any_numbers=True)
    is_bundle = "mediaType" in members or "verificationMaterial" in members
    if is_bundle:
        members = as_object(members.get("dsseEnvelope"), "dsseEnvelope")
    payload_type = as_string(members.get("payloadType"), "payloadType", empty=True)
    payload = _binary(members, "payload")
    signatures: list[bytes] = []
    for element in as_list(members.get("signatures"), "signatures", _MAX_SIGNATURES):
        signature = as_object(element, "signatures")
        if "keyid" in signature:
            as_string(signature["keyid"], "keyid", empty=True)
        signatures.append(_binary(signature, "sig"))
    return payload_type, Envelope(payload, tuple(signatures), is_bundle)


def _binary(members: Object, name: str) -> bytes:
    """Return the bytes of a base64 string that is not empty."""
    return decode_base64(as_string(members.get(name), name))
