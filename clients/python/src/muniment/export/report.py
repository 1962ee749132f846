"""The report of a verified manifest (export-manifest.md, section 7)."""

from dataclasses import dataclass
from typing import Any

from ..encoding import MAX_INTEGER
from ..statement import Statement
from .privacy import spent
from .statement import PREDICATE_TYPE, Manifest, Privacy, Signer
from .stream import StreamFacts
from .tables import spdx


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What a verified manifest proves, and what its signers claim.

    - `manifest`, `manifest_sha256`: the content of the manifest, and the digest of its file.
    - `signers`: the keys that signed, in the order in which they were given, then the identity.
    - `files_checked`, `licenses_decided`, `residency_decided`: whether files, an allow-list, or
      limits of the places were given.
    - `receipt`: what the receipt proves. None if none was given.
    - `stream`: what the stream shows. None if none was given.
    """

    manifest: Manifest
    manifest_sha256: str
    signers: tuple[Signer, ...]
    files_checked: bool
    licenses_decided: bool
    residency_decided: bool
    receipt: Statement | None
    stream: StreamFacts | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The checks that were not performed, in the order of the specification."""
        manifest = self.manifest
        evidence = [len(claim.evidence) for claim in manifest.claims]
        private = manifest.privacy is not None
        found = {
            "files-not-checked": not self.files_checked,
            "licenses-not-decided": not self.licenses_decided,
            "residency-not-decided": not self.residency_decided,
            "residency-without-evidence": 0 in evidence,
            "evidence-not-checked": any(evidence) and self.stream is None,
            "not-recorded": self.receipt is None,
            "not-witnessed": self.receipt is not None and not self.receipt.witnessed,
            "spends-not-checked": private and self.stream is None,
            "other-list": manifest.spdx_list_version != spdx().version,
        }
        return tuple(warning for warning, applies in found.items() if applies)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON report: `verdict`, `proven`, `claimed` and `warnings`."""
        return {
            "verdict": "verified",
            "proven": self._proven(),
            "claimed": self._claimed(),
            "warnings": list(self.warnings),
        }

    def _proven(self) -> dict[str, Any]:
        manifest = self.manifest
        proven: dict[str, Any] = {
            "manifestSha256": self.manifest_sha256,
            "predicateType": PREDICATE_TYPE,
            "tenant": manifest.tenant,
            "exportId": manifest.export_id,
            "signers": [signer.to_json() for signer in self.signers],
            "files": [
                {
                    "name": file.name,
                    "sha256": file.sha256,
                    "size": file.size,
                    "checked": self.files_checked,
                }
                for file in manifest.files
            ],
            "spdxListVersion": spdx().version,
            "licenses": sorted(set(manifest.licenses())),
        }
        if manifest.privacy is not None:
            proven["privacy"] = _privacy(manifest.privacy)
        if self.receipt is not None:
            proven["entry"] = {
                "origin": self.receipt.origin,
                "index": self.receipt.index,
                "size": self.receipt.size,
                "time": self.receipt.time,
            }
        if self.stream is not None:
            proven["stream"] = self.stream.to_json()
        return proven

    def _claimed(self) -> dict[str, Any]:
        manifest = self.manifest
        claimed: dict[str, Any] = {"created": manifest.created}
        rows = [file.rows for file in manifest.files if file.rows is not None]
        if rows and sum(rows) <= MAX_INTEGER:
            claimed["rows"] = sum(rows)
        claimed["residency"] = [
            {
                "activity": claim.activity,
                "places": [location.label for location in claim.locations],
                "claimedBy": claim.claimed_by.to_json(),
                "evidence": len(claim.evidence),
            }
            for claim in manifest.claims
        ]
        privacy = manifest.privacy
        if privacy is not None:
            claimed["sensitivity"] = {"claimedBy": privacy.sensitivity_by.to_json()}
            by = privacy.sampler_by.to_json()
            claimed["sampler"] = {"name": privacy.sampler, "claimedBy": by}
        return claimed


def _privacy(privacy: Privacy) -> dict[str, str]:
    members = {
        "flavor": privacy.flavor,
        "budget": privacy.budget,
        "epsilon": privacy.epsilon.text,
        "delta": None if privacy.delta is None else privacy.delta.text,
        "rho": None if privacy.rho is None else privacy.rho.text,
        "spent": spent(privacy).text,
    }
    return {name: text for name, text in members.items() if text is not None}
