"""Verdicts on a file of inputs: `python -m muniment.mutants FILE` (receipt.md, section 6)."""

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import sigstore
from .bundle import BundleError
from .bundle import verify as verify_bundle
from .configuration import Configuration
from .documents import Inputs as DocumentInputs
from .documents import verify_file
from .errors import CallerError, FormatError, NotVerified
from .export import ExportError, Inputs, PublicKey, Requirements, read_requirements
from .export import verify as verify_export
from .policy import Policy
from .report import Report
from .sigstore.trustedroot import Authority, Log, Period, parse_trusted_root
from .statement import Statement
from .streamkey import parse_stream_key
from .verify import verify

_NAMES = {
    "tenant": "tenant",
    "kind": "kind",
    "subject": "subject",
    "predicateType": "predicate_type",
    "control": "control",
    "requireVerified": "require_verified",
    "signer": "signer",
    "issuer": "issuer",
    "admitted": "admitted",
    "stream": "stream",
}
"""Maps the expectations in the file to arguments of `verify`."""

_PROVEN = [
    "origin",
    "index",
    "size",
    "root",
    "leafHash",
    "tag",
    "streamId",
    "seq",
    "prev",
    "headerHash",
    "headerSha256",
    "payloadSha256",
    "externalSha256",
    "tagChecked",
    "signers",
    "policy",
    "witnessed",
]


def fingerprint(statement: Statement) -> str:
    """Return the fingerprint of a statement, in hexadecimal."""
    report = statement.to_json()
    members = {name: report["proven"].get(name) for name in _PROVEN}
    members |= {name: report["claimed"].get(name) for name in ("time", "erased")}
    members |= {name: report[name] for name in ("content", "warnings")}
    lines = (f"{name}={_text(value)}\n" for name, value in members.items() if value is not None)
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def _text(value: str | int | bool | list[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, list) else str(value)


def fingerprint_of(report: dict[str, Any]) -> str:
    """Return the fingerprint of any report, in hexadecimal."""
    return hashlib.sha256("".join(_leaves("", report)).encode("utf-8")).hexdigest()


def _leaves(path: str, value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name in sorted(value, key=lambda name: name.encode("utf-8")):
            yield from _leaves(f"{path}.{name}", value[name])
    elif isinstance(value, list):
        yield f"{path}#{len(value)}\n"
        for number, element in enumerate(value):
            yield from _leaves(f"{path}[{number}]", element)
    elif isinstance(value, str | int):
        yield f"{path}={_text(value)}\n"
    else:
        raise TypeError(f"{path}: not a value of a report")


def judge(mutant: dict[str, Any]) -> str:
    """Return the verdict on one input, followed by the fingerprint or the reason code."""
    try:
        return f"verified {_JUDGES[mutant.get('kind', 'receipt')](mutant)}"
    except (BundleError, ExportError, _FailedError) as error:
        return f"{error.verdict} {error.code}"
    except (NotVerified, sigstore.NotVerified) as error:
        return f"refused {error.code}"
    except (CallerError, sigstore.CallerError) as error:
        return f"not-checked {error.code}"


def _policies(mutant: dict[str, Any]) -> list[Policy]:
    return [
        Policy.parse(base64.b64decode(text), str(number))
        for number, text in enumerate(mutant["policies"])
    ]


def _stream_key(mutant: dict[str, Any]) -> bytes | None:
    file = mutant.get("streamKey")
    return None if file is None else parse_stream_key(base64.b64decode(file))


def _optional(mutant: dict[str, Any], name: str) -> bytes | None:
    return base64.b64decode(mutant[name]) if name in mutant else None


def _judge_receipt(mutant: dict[str, Any]) -> str:
    expected = {_NAMES[name]: value for name, value in mutant.get("expect", {}).items()}
    policies = _policies(mutant)
    if policies and "streamKey" in mutant:
        expected["stream_key"] = _stream_key(mutant)
    for name in ("payload", "external"):
        if name in mutant:
            expected[name] = base64.b64decode(mutant[name])
    receipt = base64.b64decode(mutant["receipt"])
    header_only = mutant.get("headerOnly", False)
    return fingerprint(verify(receipt, policies, header_only=header_only, **expected))


def _judge_evidence(mutant: dict[str, Any]) -> str:
    expected = mutant.get("expect", {})
    report = verify_bundle(
        base64.b64decode(mutant["bundle"]),
        _policies(mutant),
        stream_key=_stream_key(mutant),
        identity=expected.get("identity"),
        tenant=expected.get("tenant"),
    )
    members = {name: getattr(report, name) for name in _EVIDENCE}
    members |= {
        "root": report.root.hex(),
        "streamId": report.stream_id.hex(),
        "last": report.last.hex(),
        "erased": len(report.erased),
        "signers": list(report.signers),
    }
    return fingerprint_of(members)


_EVIDENCE = [
    "identity",
    "origin",
    "tenant",
    "size",
    "time",
    "entries",
    "included",
    "omitted",
    "complete",
    "policy",
    "witnessed",
]


def _judge_export(mutant: dict[str, Any]) -> str:
    policies = _policies(mutant)
    stream_key = _stream_key(mutant)
    keys = [PublicKey.parse(base64.b64decode(text)) for text in mutant["keys"]]
    requirements = _optional(mutant, "requirements")
    files = mutant.get("files")
    expected = mutant.get("expect", {})
    inputs = Inputs(
        keys=keys,
        policies=policies,
        stream_key=stream_key,
        requirements=Requirements() if requirements is None else read_requirements(requirements),
        files=None if files is None else {n: base64.b64decode(t) for n, t in files.items()},
        receipt=_optional(mutant, "receipt"),
        stream=_optional(mutant, "stream"),
        tenant=expected.get("tenant"),
        export=expected.get("export"),
    )
    report = verify_export(base64.b64decode(mutant["manifest"]), inputs).to_json()
    return fingerprint_of({name: report[name] for name in ("proven", "claimed", "warnings")})


def _judge_sigstore(mutant: dict[str, Any]) -> str:
    keys = [base64.b64decode(text) for text in mutant["keys"]]
    identities = [sigstore.Identity(one["name"], one["issuer"]) for one in mutant["identities"]]
    roots = [base64.b64decode(text) for text in mutant["roots"]]
    trust = sigstore.Trust(roots, identities=identities, keys=keys)
    digest = mutant.get("artifactDigest")
    verified = trust.verify(
        base64.b64decode(mutant["bundle"]),
        artifact=_optional(mutant, "artifact"),
        artifact_sha256=None if digest is None else bytes.fromhex(digest),
    )
    signer = verified.signer
    return fingerprint_of(
        {
            "identity": signer.identity.name if signer.identity else "",
            "issuer": signer.identity.issuer if signer.identity else "",
            "keyId": "" if signer.key is None else PublicKey.parse(keys[signer.key]).id,
            "payloadType": verified.payload_type or "",
            "payloadSha256": hashlib.sha256(verified.payload or b"").hexdigest(),
        }
    )


def _judge_configuration(mutant: dict[str, Any]) -> str:
    files = {path: base64.b64decode(text) for path, text in mutant["files"].items()}

    def read(path: str, limit: int) -> bytes:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path][:limit]

    configuration = Configuration.parse(base64.b64decode(mutant["configuration"]), read=read)
    if "file" not in mutant:
        return fingerprint_of(
            {
                "keys": " ".join(one.key.id for one in configuration.trusted_keys),
                "policies": " ".join(policy.name for policy in configuration.policies),
                "streamKey": configuration.stream_key is not None,
            }
        )
    exported = mutant.get("exported")
    inputs = DocumentInputs(
        artifact=_optional(mutant, "artifact"),
        files=None if exported is None else {n: base64.b64decode(t) for n, t in exported.items()},
        receipt=_optional(mutant, "receipt"),
        stream=_optional(mutant, "stream"),
    )
    file = base64.b64decode(mutant["file"])
    report = verify_file(file, configuration, inputs, kind=mutant.get("as"), name="file")
    if report.verdict != "verified":
        raise _FailedError(report)
    return fingerprint_of({"report": json.loads(report.to_json()), "text": report.to_text()})


class _FailedError(Exception):
    """A report that is not one of a verified file."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.code)
        self.verdict = "not-checked" if report.verdict == "error" else "refused"
        self.code = report.code


def _judge_policy(mutant: dict[str, Any]) -> str:
    policy = Policy.parse(base64.b64decode(mutant["file"]), "0")
    members = {"origin": policy.log.name, "witnessed": policy.asks_for_witness}
    return fingerprint_of(members | {"keys": list(policy.keys)})


def _judge_key(mutant: dict[str, Any]) -> str:
    return fingerprint_of({"keyId": PublicKey.parse(base64.b64decode(mutant["file"])).id})


def _judge_root(mutant: dict[str, Any]) -> str:
    try:
        root = parse_trusted_root(base64.b64decode(mutant["file"]))
    except FormatError as error:
        raise CallerError("trusted-root-malformed", error.message) from None

    def period(valid: Period) -> str:
        return " ".join("-" if end is None else str(end) for end in (valid.start, valid.end))

    def logs(all_: dict[bytes, Log]) -> list[str]:
        return sorted(f"{key.hex()} {period(log.valid)}" for key, log in all_.items())

    def authorities(all_: tuple[Authority, ...]) -> list[str]:
        return [f"{len(one.certificates)} {period(one.valid)}" for one in all_]

    return fingerprint_of(
        {
            "logs": logs(root.logs),
            "certificateLogs": logs(root.ct_logs),
            "certificateAuthorities": authorities(root.certificate_authorities),
            "timestampAuthorities": authorities(root.timestamp_authorities),
        }
    )


_JUDGES = {
    "receipt": _judge_receipt,
    "export": _judge_export,
    "evidence-bundle": _judge_evidence,
    "sigstore-bundle": _judge_sigstore,
    "configuration": _judge_configuration,
    "trust-policy": _judge_policy,
    "public-key": _judge_key,
    "trusted-root": _judge_root,
}


def run(path: str) -> Iterator[str]:
    """Yield a line of output for each line of the file."""
    with Path(path).open("rb") as file:
        for line in file:
            mutant = json.loads(line)
            yield f"{mutant['id']} {judge(mutant)}"


if __name__ == "__main__":
    for result in run(sys.argv[1]):
        print(result)
