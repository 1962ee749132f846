"""Loads the vectors of evidence bundles."""

import base64
from dataclasses import dataclass
from typing import Any

from muniment import CallerError, Policy, bundle, parse_stream_key
from vectors import load


@dataclass(frozen=True)
class BundleCase:
    """A case of bundles.json or bundle-reports.json. `raw` are its members."""

    name: str
    file: dict[str, Any]
    raw: dict[str, Any]

    def bundle(self) -> bytes:
        """Return the bytes of the bundle, after the edits."""
        original = base64.b64decode(self.file["bundles"][self.raw["bundle"]], validate=True)
        parts: list[bytes] = []
        at = 0
        for edit in self.raw.get("edits", []):
            parts += [original[at : edit["at"]], base64.b64decode(edit["insert"] or "")]
            at = edit["at"] + edit["remove"]
        return b"".join([*parts, original[at:]])

    def verify(self, data: bytes | None = None) -> tuple[str, str | None, dict[str, Any] | None]:
        """Verify the case's bundle, or `data` in its place: verdict, code and report."""
        expect = self.raw.get("expect", {})
        key = self.raw.get("streamKey")
        try:
            report = bundle.verify(
                self.bundle() if data is None else data,
                [
                    Policy.parse(self.file["policies"][name].encode(), name)
                    for name in self.raw["policies"]
                ],
                stream_key=(
                    None if key is None else parse_stream_key(self.file["streamKeys"][key].encode())
                ),
                identity=expect.get("identity"),
                tenant=expect.get("tenant"),
            )
        except bundle.BundleError as error:
            return error.verdict, error.code, None
        except CallerError as error:
            return "not-checked", error.code, None
        return "verified", None, report.to_json()


def bundle_cases(name: str) -> list[BundleCase]:
    """Return the cases of a file of vectors."""
    file = load(name)
    return [BundleCase(raw["name"], file, raw) for raw in file["cases"]]
