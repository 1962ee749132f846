"""The encoding of public keys (sigstore-verification.md, section 4).

Libraries differ in what else they read. They check that points are on their curve.
"""

from ..errors import FormatError

_FORMS = (
    (bytes.fromhex("302a300506032b6570032100"), 32),
    (bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"), 64),
    (bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"), 96),
    (bytes.fromhex("30819b301006072a8648ce3d020106052b810400230381860004"), 132),
)
"""What precedes the key itself, and the size of the rest: Ed25519, P-256, P-384 and P-521."""

_SMALL_ORDER = frozenset(
    {
        0,
        1,
        2**255 - 20,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            "little",
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            "little",
        ),
    }
)
"""The y coordinates of the points of small order. Such a key has signatures of any message."""

_RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")
_RSA_START = 33  # of the modulus
_RSA_SIZES = (256, 384, 512)


def check_form(der: bytes) -> None:
    """Raise FormatError unless a SubjectPublicKeyInfo has the bytes that section 4 specifies."""
    for prefix, size in _FORMS:
        if len(der) == len(prefix) + size and der.startswith(prefix):
            if size == 32:
                _check_point(der[-32:])
            return
    if not _is_rsa(der):
        raise FormatError("a key of another type, or with an unusual encoding")


def _check_point(key: bytes) -> None:
    y = int.from_bytes(key, "little") % 2**255
    if y >= 2**255 - 19 or y in _SMALL_ORDER:
        raise FormatError("an Ed25519 key of small order, or that is not reduced")


def _is_rsa(der: bytes) -> bool:
    for size in _RSA_SIZES:
        end = _RSA_START + size
        if not end + 3 <= len(der) <= end + 2 + 4:
            continue
        modulus, exponent = der[_RSA_START:end], der[end + 2 :]
        usual = der == _rsa_info(modulus, exponent) and modulus[0] >= 0x80 and modulus[-1] % 2 == 1
        return usual and _is_usual(exponent)
    return False


def _is_usual(exponent: bytes) -> bool:
    """Report whether it is an odd number from 3 to 2^31 - 1 in its shortest form."""
    value = int.from_bytes(exponent, "big")
    shortest = len(exponent) == 1 or exponent[0] != 0 or exponent[1] >= 0x80
    return exponent[0] < 0x80 and shortest and value >= 3 and value % 2 == 1


def _rsa_info(modulus: bytes, exponent: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a key whose modulus has its highest bit set."""
    numbers = _long(0x02, b"\0" + modulus) + bytes((0x02, len(exponent))) + exponent
    return info_of_pkcs1(_long(0x30, numbers))


def info_of_pkcs1(raw: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of an RSAPublicKey of PKCS #1."""
    return _long(0x30, _RSA_ALGORITHM + _long(0x03, b"\0" + raw))


def _long(tag: int, content: bytes) -> bytes:
    """Return DER with a length of two bytes. A longer content is of no key, and is cut."""
    return bytes((tag, 0x82)) + (len(content) % 0x10000).to_bytes(2, "big") + content
