"""Facts of evidence (facts.md, sections 1 to 6)."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

KIND_TYPE = "https://muniment.dev/predicate/"
TYPES: list[tuple[str, list[str]]] = [
    (r"https://cosign\.sigstore\.dev/attestation/vuln/v1", ["scan"]),
    (r"https://in-toto\.io/attestation/vulns/v0\.[12]", ["scan"]),
    (r"https://openvex\.dev/ns(/v\d+\.\d+(\.\d+)*)?", ["vex"]),
    (r"https://spdx\.dev/Document(/v2(\.\d+)?)?", ["sbom"]),
    (r"application/spdx\+json", ["sbom"]),
    (r"https://cyclonedx\.org/bom(/v?\d+(\.\d+)?)?", ["sbom", "scan", "vex"]),
    (r"application/vnd\.cyclonedx\+json", ["sbom", "scan", "vex"]),
    (r"https://slsa\.dev/provenance/(v1|v0\.2)", ["build"]),
    (r"https://in-toto\.io/attestation/test-result/v0\.1", ["test"]),
    (r"https://slsa\.dev/verification_summary/(v1|v0\.2)", ["summary"]),
    (r"https://in-toto\.io/attestation/(svr/v0\.1|scai/v0\.3)", ["properties"]),
    (re.escape(KIND_TYPE) + "backfill-checkpoint/v1", ["checkpoint"]),
    (re.escape(KIND_TYPE) + "export-manifest/v1", ["export"]),
]


def document_type(header: Json) -> str:
    """Return the type of the document that facts are read from, empty without one."""
    if "external" in header:
        return ""
    if "predicateType" in header:
        return str(header["predicateType"])
    kind = str(header.get("kind", "attestation"))
    if kind != "attestation":
        return f"{KIND_TYPE}{kind}/v1"
    return str(header.get("mediaType", "")).partition(";")[0].strip()


def group_types(header: Json) -> list[str]:
    """Return the groups that an entry with this header can have. None without facts."""
    text = document_type(header)
    return next((groups for pattern, groups in TYPES if re.fullmatch(pattern, text)), [])
