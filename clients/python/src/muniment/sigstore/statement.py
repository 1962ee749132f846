"""In-toto statements (sigstore-verification.md, section 5)."""

import json
import re
from typing import Any

from .. import charset
from ..digest import fold
from ..errors import FormatError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_MAX_DEPTH = 100
_MAX_SUBJECTS = 1024
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def subjects_of(payload: bytes) -> list[dict[str, str]]:
    """Return the digests of each subject. Raises FormatError if it is no statement."""
    return _parse(payload)[1]


def predicate_of(payload: bytes) -> tuple[str, int]:
    """Return the predicate type, and the number of subjects. Raises FormatError as above."""
    predicate_type, subjects = _parse(payload)
    return predicate_type, len(subjects)


def _parse(payload: bytes) -> tuple[str, list[dict[str, str]]]:
    try:
        text = payload.decode("utf-8")
        _check_depth(text)
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise FormatError(charset.explain(payload) or "not UTF-8") from None
    except (ValueError, RecursionError):
        raise FormatError("the payload is not JSON") from None
    if not isinstance(document, dict) or document.get("_type") not in _TYPES:
        raise FormatError("the payload is not a statement")
    predicate_type, subjects = document.get("predicateType"), document.get("subject")
    if not isinstance(predicate_type, str) or not predicate_type:
        raise FormatError("the statement has no predicateType")
    if not isinstance(subjects, list) or not 1 <= len(subjects) <= _MAX_SUBJECTS:
        raise FormatError(f"the statement must have 1 to {_MAX_SUBJECTS} subjects")
    return predicate_type, [_digests(subject) for subject in subjects]


def _digests(subject: object) -> dict[str, str]:
    digests = subject.get("digest") if isinstance(subject, dict) else None
    if not isinstance(digests, dict) or not all(isinstance(v, str) for v in digests.values()):
        raise FormatError("the digest of a subject must be an object of strings")
    if len({fold(name) for name in digests}) != len(digests):
        raise FormatError("two digests of a subject are of the same algorithm")
    return digests


def is_one_of(artifact: dict[str, bytes], subjects: list[dict[str, str]]) -> bool:
    """Report whether one of the subjects has the artifact's digests, and no different one."""
    for digests in subjects:
        given = [
            digests[name].lower() == value.hex()
            for name, value in artifact.items()
            if name in digests
        ]
        if given and all(given):
            return True
    return False


def _check_depth(text: str) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(text):
        depth += 1 if match[0] in "[{" else -1 if match[0] in "]}" else 0
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    for name, value in pairs:
        _check_text(name)
        _check_text(value)
    return members


def _check_text(value: object) -> None:
    if isinstance(value, str) and _SURROGATE.search(value):
        raise ValueError("unpaired surrogate")
    if isinstance(value, list):
        for item in value:
            _check_text(item)


def _refuse(name: str) -> None:
    raise ValueError(name)
