"""The human-readable report."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from .printable import printable
from .statement import Statement

_SIGNATURES = {
    "verified": "the log verified the signatures",
    "unverified": "the log did not verify the signatures",
    "failed": "the log found the signatures invalid",
}


def describe(path: str, statement: Statement) -> str:
    """Return the report on a verified receipt, in the parts of receipt.md, section 5."""
    lines = [f"✓ VERIFIED  {printable(path)}"]
    lines += _part("proven", _proven(statement))
    lines += _part("claimed", _claimed(statement))
    lines += _part("content", [_content(statement)])
    lines += _part("witness", [_witness(statement)])
    return "\n".join(lines)


def _part(title: str, lines: Sequence[str]) -> Iterable[str]:
    for number, line in enumerate(lines):
        yield f"  {'' if number else title:10}{line}"


def _proven(s: Statement) -> list[str]:
    entries = _count(s.size, "entry", "entries")
    lines = [
        f"entry {s.index} of the log {printable(s.origin)} is in its tree of {entries}",
        f"root {s.root.hex()}",
        f"signed by {', '.join(printable(signer) for signer in s.signers)}",
    ]
    if s.stream_id is not None:
        tag = "with the right tag" if s.tag_checked else "tag not checked: use --stream-key"
        lines.append(f"entry {s.seq} of the stream {s.stream_id.hex()} ({tag})")
    if s.claims is None:
        lines.append(f"header hash {s.header_hash.hex()}")
    elif s.payload_sha256 is None:
        lines.append("the header is as recorded; the payload was not checked")
    else:
        size = _count(s.claims.payload_size, "byte", "bytes")
        digest = f"sha256:{s.payload_sha256.hex()}"
        lines.append(f"header and payload are as recorded: {size}, {digest}")
    if s.external_sha256 is not None:
        digest = f"sha256:{s.external_sha256.hex()}"
        lines.append(f"the external evidence is as recorded: {digest}")
    return lines


def _claimed(s: Statement) -> list[str]:
    lines = [f"recorded {_time(s.time)}"]
    if s.erased:
        lines.append(f"{' and '.join(s.erased)} erased by the log")
    if s.claims is None:
        return lines
    header: dict[str, Any] = s.claims.members
    lines.append(f"tenant {header['tenant']}, submitted by {printable(header['submitter'])}")
    what = [header["kind"], header["mediaType"]]
    if "predicateType" in header:
        what.append(f"predicate {header['predicateType']}")
    lines.append(printable(", ".join(what)))
    for subject in header.get("subjects", []):
        digests = " ".join(f"{name}:{value}" for name, value in subject["digest"].items())
        lines.append(printable(f"about {digests} {subject.get('name', '')}".rstrip()))
    lines += [printable(f"control {control}") for control in header.get("controls", [])]
    lines += [_signer(signer) for signer in header.get("signers", [])]
    verification = header["verification"]
    detail = ": ".join(verification[name] for name in ("format", "reason") if name in verification)
    result = _SIGNATURES[verification["result"]]
    lines.append(f"{result} ({printable(detail)})" if detail else result)
    if "admission" in header:
        lines.append(_admission(header["admission"]))
    return lines


def _signer(signer: dict[str, str]) -> str:
    names = [signer[name] for name in ("identity",) if name in signer]
    names += [f"key {signer['keyId']}"] if "keyId" in signer else []
    names += [f"issuer {signer['issuer']}"] if "issuer" in signer else []
    return printable(f"signed by {', '.join(names)}")


def _admission(admission: dict[str, str]) -> str:
    result = {"admitted": "admitted", "recorded": "recorded, not admitted"}[admission["result"]]
    rule = f" by the rule {admission['rule']}" if "rule" in admission else ""
    reason = f": {admission['reason']}" if "reason" in admission else ""
    return printable(f"{result}{rule}{reason}")


def _content(s: Statement) -> str:
    if s.content_checked:
        return "checked"
    if s.claims is not None and s.claims.external_size is not None:
        return "content not checked: the evidence is kept elsewhere (use --external)"
    return "content not checked"


def _witness(s: Statement) -> str:
    if s.witnessed:
        return f"cosigned by the witnesses that the policy {printable(s.policy)} requires"
    return f"not witnessed: the policy {printable(s.policy)} requires no witness"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _time(milliseconds: int) -> str:
    """Format Unix milliseconds in UTC. Times beyond the year 9999 stay a number."""
    seconds, rest = divmod(milliseconds, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms after 1970"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
