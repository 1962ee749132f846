"""Runs Sigstore's public cases for verifiers (sigstore-verification.md, section 12).

python tests/conformance.py FOLDER
"""

import json
import sys
from pathlib import Path

from muniment import sigstore

REASONS = Path(__file__).resolve().parents[3] / "docs/spec/vectors/sigstore-conformance.json"
NAME = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"


def reason_of(case: Path) -> str:
    """Return the code of a case, empty if the bundle is verified."""

    def read(file: str, otherwise: str) -> bytes:
        path = case / file
        return (path if path.exists() else case.parent / otherwise).read_bytes()

    def text(file: str, otherwise: str) -> str:
        path = case / file
        return path.read_text(encoding="utf-8").strip() if path.exists() else otherwise

    root = read("trusted_root.json", "trusted-root-public-good.json")
    key = case / "key.pub"
    try:
        if key.exists():
            trust = sigstore.Trust([root], keys=[key.read_bytes()])
        else:
            identity = sigstore.Identity(text("identity", NAME), text("issuer", ISSUER))
            trust = sigstore.Trust([root], identities=[identity])
        bundle = (case / "bundle.sigstore.json").read_bytes()
        trust.verify(bundle, artifact=read("artifact", "a.txt"))
    except (sigstore.NotVerified, sigstore.CallerError) as error:
        return error.code
    return ""


def main(folder: Path) -> int:
    """Run all cases and return the exit code."""
    reasons: dict[str, str] = json.loads(REASONS.read_bytes())
    cases = sorted(path for path in folder.iterdir() if path.is_dir())
    right = 0
    for case in cases:
        reason = reason_of(case)
        fails = case.name.endswith("_fail")
        if fails == bool(reason) and reasons.get(case.name, reason) == reason:
            right += 1
        else:
            print(f"{case.name}: {reason!r}, not {reasons.get(case.name, 'the other verdict')!r}")
    print(f"Python: {right} of {len(cases)} conformance cases come out right")
    return 0 if right == len(cases) >= len(reasons) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
