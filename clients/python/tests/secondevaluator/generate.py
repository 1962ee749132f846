"""Random cases of decisions: small worlds that a seed and a number determine."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Json = dict[str, Any]

DAY0: Final = datetime(2026, 11, 1, tzinfo=UTC)
WORKFLOW: Final = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"
ISSUER: Final = "https://token.actions.githubusercontent.com"
SIGNERS: Final = [
    {
        "name": "workflow",
        "identityRegexp": r"https://github\.com/acme/[a-z]+/\.github/workflows/release\.yml@refs/tags/.*",
        "issuer": ISSUER,
    },
    {"name": "scanner", "keyIds": ["SHA256:scanner", "SHA256:scanner2"]},
    {"name": "person", "identity": "dana@acme.example", "issuerRegexp": "https://idp.*"},
    {"name": "robot", "submitters": ["token:robot-*", "oidc:**#lee"]},
]
PARTIES: Final = [
    {"identity": WORKFLOW, "issuer": ISSUER},
    {"identity": WORKFLOW, "issuer": ISSUER},
    {"identity": WORKFLOW + ".1", "issuer": ISSUER},
    {"identity": WORKFLOW, "issuer": ISSUER, "keyId": "SHA256:workflow"},
    {"keyId": "SHA256:scanner"},
    {"keyId": "SHA256:scanner"},
    {"keyId": "SHA256:scanner2"},
    {"identity": "dana@acme.example", "issuer": "https://idp.example"},
    {"identity": "mallory@evil.example", "issuer": ISSUER},
    {"identity": WORKFLOW, "issuer": "https://evil.example"},
    {"keyId": "SHA256:mallory"},
]
PEOPLE: Final = [
    "oidc:https://idp.example#dana",
    "oidc:https://idp.example#kim",
    "oidc:https://idp.example#lee",
    "oidc:https://idp.example#max",
]
SPELLINGS: Final = [
    "oidc:https://IDP.example#DANA",
    "oidc:https://idp.example#kim ",
    "oidc:https://idp.example#\uff4bim",
    "oidc:https://idp.example#le\u200be",
    "oidc:https://idp.example#",
    "OIDC:https://idp.example#dana",
    "token:dana",
    "spiffe://acme.example/kim",
    "server",
]
KEYS: Final = ["sha256:1", "sha256:1", "sha256:2"]
SUBMITTERS: Final = ["token:ci", "token:ci", "token:robot-1", "token:robot-2", *PEOPLE]
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
SCAN: Final = "https://cosign.sigstore.dev/attestation/vuln/v1"
VULNS: Final = "https://in-toto.io/attestation/vulns/v0.2"
VEX: Final = "https://openvex.dev/ns/v0.2.0"
TEST: Final = "https://in-toto.io/attestation/test-result/v0.1"
SVR: Final = "https://in-toto.io/attestation/svr/v0.1"
CYCLONEDX: Final = "https://cyclonedx.org/bom"
MANIFEST: Final = "https://muniment.dev/predicate/export-manifest/v2"
CHECKPOINT: Final = "https://muniment.dev/predicate/backfill-checkpoint/v1"
CVES: Final = ["CVE-1", "CVE-2", "cve-3", "GHSA-a", "AUD-1"]
SEVERITIES: Final = ["critical", "high", "medium", "low"]
ENVIRONMENTS: Final = ["", "", "production", "production/eu", "staging"]
ENVIRONMENT_GLOBS: Final = ["production", "production/*", "production**", "**", "staging", "st*g"]
NAMES: Final = ["registry.example/app:1.2", "registry.example/app:1.2", "registry.example/b:1", ""]
NAME_GLOBS: Final = [
    "registry.example/*",
    "registry.example/app:*",
    "**",
    "*",
    "*.example/b:1",
    "x",
]
TYPES: Final = ["image", "image", "image", "chart", "file", "delta", "export-manifest"]
STAGES: Final = ["build", *["deploy"] * 12, "nowhere"]

CONDITIONS: Final = [
    "true || evidence.size() > 0",
    'subject.type == "image"',
    'subject.name != "" && subject.digest.sha256.startsWith("a")',
    'subject.nothing == 1 || subject.type == "chart"',
    'has(subject.digest.sha512) || stage == "deploy"',
    'stage == "build" ? environment == "" : environment != "staging"',
    'environment.startsWith("production")',
    'now > timestamp("2026-11-02T00:00:00Z")',
    'now - duration("24h") < timestamp("2026-11-03T06:00:00Z")',
    "now.getDayOfMonth() % 2 == 0",
    "has(parameters.low) ? parameters.low == 1 : size(evidence) == 1",
    'parameters.list.exists(x, x == environment) || "b" in parameters.list',
    "parameters.low == 1.0 && parameters.half < 1 && size(evidence) > 0",
    "evidence.size() > 0",
    "evidence.all(e, e.verified)",
    "evidence.all(e, e.conforming) && evidence.exists(e, e.verified)",
    'evidence.exists(e, e.requirement == "r0" && e.signers.size() == 1)',
    'evidence.exists_one(e, e.submitter == "token:ci")',
    'evidence.exists(e, e.signers.exists(s, s.name == "workflow" && s.key_id == ""))',
    'evidence.filter(e, e.kind == "attestation")[0].index >= 3',
    "evidence.map(e, e.index).exists(i, i % 2 == 0)",
    'evidence.exists(e, has(e.facts.build) && e.facts.build.builder == "b")',
    'evidence.exists(e, e.facts.build.builder.matches("^b[0-9]?$"))',
    'evidence.all(e, !has(e.facts.build) || e.facts.build.parameters.ref == "v1")',
    'evidence.exists(e, e.facts.build.materials.exists(m, m.digests.sha256 == "aa"))',
    'evidence.all(e, e.facts.test.result == "PASSED" && !has(e.facts.test.failed))',
    "evidence.exists(e, has(e.facts.test) && e.facts.test.passed.size() >= 2)",
    "evidence.all(e, !has(e.facts.scan) || e.facts.scan.vulnerabilities.size() == 0)",
    "evidence.exists(e, e.facts.scan.vulnerabilities.exists(v, v.score > 6.9))",
    'evidence.exists(e, has(e.facts.scan) && e.facts.scan.scanner.name == "grype")',
    "evidence.all(e, has(e.facts.version) && e.facts.version == 1)",
    "evidence.exists(e, has(e.facts.problem_count) && e.facts.problem_count > 0)",
    'evidence.exists(e, e.facts.properties.properties.exists(p, p.name == "REVIEWED"))',
    "evidence.exists(e, e.facts.checkpoint.aca_score >= 0.95 && e.facts.checkpoint.rollback_ready)",
    'evidence.exists(e, e.facts.sbom.components.exists(c, sets.intersects(c.licenses, ["MIT"])))',
    'evidence.exists(e, e.attributes["decision"] == "pass" && has(e.attributes.stage))',
    'evidence[0].time < now && evidence[0].predicate_type != ""',
    "evidence[1].time <= evidence[0].time",
    'evidence.exists(e, e.kind == "finding" || e.kind == "export-manifest")',
    "vulnerabilities == []",
    "vulnerabilities.all(v, !v.overdue)",
    'vulnerabilities.all(v, v.severity != "critical")',
    'vulnerabilities.all(v, v.severity != "critical" || !v.overdue)',
    'vulnerabilities.all(v, v.score < 7.0 || v.fixed_version == "")',
    'vulnerabilities.exists(v, v.package.name == "lib" && v.package.purl.contains("lib"))',
    "vulnerabilities.all(v, v.first_seen < now && v.due > v.first_seen)",
    "vulnerabilities.size() <= 1 && evidence.all(e, e.verified)",
    'vulnerabilities.exists(v, "GHSA-a" in v.aliases) || size(evidence) > 2',
    "size(findings) == 0",
    "!findings.exists(f, f.overdue)",
    'findings.all(f, f.severity in ["low", "medium"] || f.due > now)',
    'findings.all(f, f.status != "open") || vulnerabilities == []',
    "findings.exists(f, f.detected < now && f.index > 3)",
    'size(findings) < 2 && findings.map(f, f.id).all(i, i.lowerAscii().startsWith("cve"))',
    "1 / size(evidence) == 1",
    "evidence.size() > 0 && evidence[0].nothing",
    "evidence.exists(e, e.nothing) || evidence.exists(e, e.verified)",
    "evidence.exists(e, has(e.facts.export) && e.facts.export.files > 1)",
    'evidence.exists(e, e.facts.export.tenant == "acme" && e.facts.export.name == "x")',
    'evidence.all(e, !has(e.facts.export) || sets.contains(["MIT"], e.facts.export.licenses))',
    'evidence.exists(e, e.facts.export.contents.exists(f, f.digests.sha256 == "aa" && f.size > 9))',
    'evidence.all(e, e.facts.export.residency.all(r, r.locations.all(l, l.country == "DE")))',
    "evidence.exists(e, e.facts.export.residency.exists(r, has(r.claimed_by.key_id)))",
    "evidence.all(e, e.facts.export.residency.all(r, r.evidence == 1 && r.locations.size() < 2))",
    "evidence.exists(e, e.facts.export.privacy.adds_up && e.facts.export.privacy.epsilon <= 1.0)",
    "evidence.exists(e, has(e.facts.export.privacy.rho) != has(e.facts.export.privacy.spent))",
    "evidence.exists(e, e.verified && e.nothing)",
    # never in force
    "false",
    "1 == 2 && size(evidence) > 0",
    "nothing == 1",
    "stage == 1",
    "size(findings)",
    'stage.replace("a", "b") == stage',
    "stage.matches(environment)",
    'evidence.exists(e, e.requirement == "absent")',
    'parameters.low == 2 && stage == "deploy"',
]


class Generator:
    """The generator of one case."""

    def __init__(self, seed: int, number: int) -> None:
        self.random = random.Random(f"{seed}/{number}")
        self.name = f"{seed}/{number}"
        self.entries: list[Json] = []
        self.time = DAY0
        self.requests: list[tuple[int, str]] = []
        self.controls: list[str] = []
        self.subject = self.digest("a")
        self.parts: list[Json] = []

    # --- small choices

    def chance(self, percent: float) -> bool:
        return self.random.random() * 100 < percent

    def pick(self, choices: Any) -> Any:
        return self.random.choice(choices)

    def some(self, choices: Any, most: int) -> list[Any]:
        unique = list(dict.fromkeys(choices))
        return self.random.sample(unique, self.random.randint(1, min(most, len(unique))))

    def digest(self, hexadecimal: str) -> Json:
        found = {"sha256": hexadecimal * 64}
        if self.chance(15):
            found["sha512"] = self.pick([hexadecimal, "e"]) * 128
        if self.chance(5):
            found["md5"] = self.pick([hexadecimal, "a"]) * 32
        if self.chance(4):
            found["sha256"] = found["sha256"].upper()
        if self.chance(3):
            found[self.pick(["SHA384", "GitCommit"])] = hexadecimal * 96
        if self.chance(2):
            del found["sha256"]
            found["sha1"] = hexadecimal * 40
        return found

    def about(self) -> list[Json]:
        others = [p["digest"] for p in self.parts]
        digest = self.pick(
            [self.subject] * 9 + others * 2 + [self.digest("a"), self.digest("b"), self.digest("a")]
        )
        found = [{"name": self.pick(["app", "x"]), "digest": digest}]
        if self.chance(10):
            found.insert(0, {"digest": self.digest("9")})
        if self.chance(10):
            found.append({"digest": self.digest("8")})
        return found

    def tick(self) -> None:
        self.time += timedelta(
            hours=self.pick([0, 0, 0, 0.5, 1, 1, 3, 12, 24]), milliseconds=self.pick([0, 0, 1])
        )

    def later(self, *hours: float) -> str:
        time = self.time + timedelta(hours=self.pick(hours))
        return time.strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- the case

    def case(self) -> Json:
        name, kind, stage = self.pick(NAMES), self.pick(TYPES), self.pick(STAGES)
        if self.chance(20):
            self.parts = [
                {"name": f"linux/{i}", "digest": self.digest(i)} for i in self.some("2345", 3)
            ]
        if self.chance(98):
            self.control_set()
        for _ in range(self.random.randint(0, 16)):
            self.tick()
            self.entry()
            if self.chance(3):
                self.control_set()
        size = self.entries[-1]["index"] + 1 if self.entries else 0
        now = self.time + timedelta(hours=self.pick([0, 0, 0, 1, 10, 30, 200, 800]))
        if self.entries and self.chance(10):
            last = self.pick(self.entries[: len(self.entries)])
            if last is not self.entries[-1]:
                size, now = last["index"] + 1, datetime.fromisoformat(last["time"])
        case = {
            "name": self.name,
            "entries": self.entries,
            "size": size,
            "time": _written(now),
            "subject": {"type": kind, "name": name, "digest": self.subject},
            "stage": stage,
        }
        if not name:
            del case["subject"]["name"]
        if self.parts:
            case["parts"] = self.parts
        if environment := self.pick(ENVIRONMENTS):
            case["environment"] = environment
        return case

    def resolution(self) -> Json:
        """Return a world, and a claim that entries of it resolve a finding."""
        case = self.case()
        attested = [
            e["index"] for e in self.entries if e.get("header", {}).get("kind") == "attestation"
        ]
        indexes = attested or [0]
        last: Json = {"index": 0, "time": _written(DAY0)}
        if self.entries:
            last = self.entries[-1]
        finding: Json = {
            "id": self.pick(CVES),
            "evidence": self.some(indexes, self.pick([1, 1, 2])),
        }
        if self.chance(3):
            finding["evidence"].append(self.pick([99, *(e["index"] for e in self.entries)]))
        if self.chance(60):
            finding["subjects"] = [{"name": "app", "digest": self.subject}]
            if self.chance(30):
                finding["subjects"] = self.about()[: self.pick([1, 1, 2])]
        if "subjects" not in finding or self.chance(85):
            finding["controls"] = self.some([*self.controls, "Z"], 3)
        later = timedelta(hours=self.pick([0, 0, 1, 30]))
        time = _written(datetime.fromisoformat(last["time"]) + later)
        names = {n: case[n] for n in ("name", "entries")}
        return names | {"size": last["index"] + 1, "time": time, "finding": finding}

    def add(self, header: Json, payload: str | None = None) -> Json:
        index = self.entries[-1]["index"] + 1 if self.entries else 0
        if self.chance(5):
            index += 2
        header = {"verification": {"result": "unverified"}} | header
        header.setdefault("submitter", self.pick(SUBMITTERS))
        if self.chance(4):
            header["admission"] = {"result": "recorded"}
        elif self.chance(10):
            header["admission"] = {"result": "admitted"}
        found: Json = {"index": index, "time": _written(self.time), "header": header}
        if payload is not None:
            found["payload"] = payload
        self.entries.append(found)
        return found

    # --- controls

    def control_set(self) -> None:
        ids = ["A", "B", "C", "D"][: self.random.randint(1, 4)]
        self.controls = ids
        listed = []
        for position, id_ in enumerate(ids):
            control = self.control(id_, ids[:position])
            if self.chance(0.7):
                control[self.pick(["colour", "state", "severity"])] = "red"
            payload = json.dumps(control)
            self.add({"kind": "control", "controls": [id_], "submitter": PEOPLE[1]}, payload)
            digest = hashlib.sha256(payload.encode()).hexdigest()
            listed.append({"id": id_, "digest": f"sha256:{digest}"})
        document: Json = {
            "version": "1",
            "stages": ["build", "promote", "deploy"],
            "signers": SIGNERS,
            "controls": listed,
        }
        if self.chance(10):
            environments = self.some(["production/**", "production", "staging", "**"], 3)
            document["environments"] = environments
        if self.chance(20):
            document["validSeconds"] = self.pick(["60", "3600", "200000"])
        if self.chance(1):
            document["stages"] = self.pick([["deploy", "deploy"], []])
        self.add({"kind": "control-set", "submitter": PEOPLE[1]}, json.dumps(document))

    def control(self, id_: str, earlier: list[str]) -> Json:
        control: Json = {
            "id": id_,
            "title": "A control",
            "state": "active" if self.chance(99) else "retired",
            "severity": self.pick(SEVERITIES),
            "modes": self.modes(),
        }
        require = [self.requirement(i) for i in range(self.pick([0, 1, 1, 1, 2, 3]))]
        check: Json = {"require": require} if require else {}
        if not require or self.chance(60):
            check["condition"] = self.condition(bool(require))
        control["check"] = check
        if earlier and self.chance(35):
            control["includes"] = self.some(earlier, 2)
            if self.chance(40):
                del control["check"]
        if self.chance(40):
            control["slaDays"] = {s: self.pick([0, 1, 7, 30]) for s in self.some(SEVERITIES, 4)}
        if self.chance(20):
            control["appliesTo"] = {"types": self.some(TYPES, 3)}
            if self.chance(40):
                control["appliesTo"] = {"names": self.some(NAME_GLOBS, 2)}
        if self.chance(40):
            control["exceptions"] = {
                n: v
                for n, v in (
                    ("maxDays", self.pick([0, 1, 2, 30])),
                    ("approvers", self.pick([1, 2, 3])),
                    ("wildcard", True),
                )
                if self.chance(50) and (n != "wildcard" or control["severity"] != "critical")
            } or {"maxDays": 5}
        if self.chance(60):
            control["parameters"] = {"low": self.pick([1, 2]), "half": 0.5, "list": ["a", "b", ""]}
        return control

    def condition(self, evidence: bool) -> str:
        usable = CONDITIONS if self.chance(2) else CONDITIONS[: CONDITIONS.index("false")]
        while True:
            text = str(self.pick(usable))
            if self.chance(25):
                text = f"({text}) {self.pick(['&&', '||'])} ({self.pick(usable)})"
            if self.chance(5):
                text = f"!({text})"
            if evidence or self.chance(1) or not ("evidence" in text or "vulnerab" in text):
                return text

    def modes(self) -> list[Json]:
        rows = []
        for _ in range(self.pick([1, 1, 1, 2, 3])):
            row: Json = {
                "stage": self.pick(["deploy", "deploy", "deploy", "build"]),
                "mode": self.pick(["enforce", "enforce", "enforce", "warn", "audit"]),
            }
            if self.chance(30):
                row["environments"] = self.some(ENVIRONMENT_GLOBS, 2)
            rows.append(row)
        return rows

    def requirement(self, position: int) -> Json:
        found: Json = {"name": f"r{position}"}
        if self.chance(15):
            others = ["export-manifest", "finding", "gate-decision", "inventory", "triage-action"]
            found["kinds"] = self.some(["attestation", *others], 3)
        if {"attestation", "export-manifest"} & set(found.get("kinds", ["attestation"])):
            globs = [
                MANIFEST,
                PROVENANCE,
                SCAN,
                VULNS,
                TEST,
                CYCLONEDX,
                VEX,
                "https://slsa.dev/**",
                "**",
            ]
            if self.chance(70):
                found["predicateTypes"] = self.some(globs, 4)
        if self.chance(25):
            found["unsigned"] = True
        else:
            found["signers"] = self.some(["workflow", "workflow", "scanner", "person", "robot"], 3)
        if self.chance(10):
            found["submitters"] = self.some(["token:*", "oidc:**", "token:robot-*"], 2)
        if self.chance(15):
            found["minSigners"] = self.pick([1, 2, 2, 3])
        if self.chance(25):
            found["maxAgeSeconds"] = self.pick(["1", "3600", "86400", "172800"])
        if self.chance(20):
            found["optional"] = True
        return found

    # --- entries

    def entry(self) -> None:
        choices = [
            (self.attestation, 45),
            (self.manifest, 5),
            (self.finding, 10),
            (self.request, 14),
            (self.decision, 14),
            (self.key_event, 8),
            (self.gate_decision, 4),
            (self.other, 5),
            (self.erasure, 3),
        ]
        make = self.random.choices([c for c, _ in choices], [weight for _, weight in choices])[0]
        make()

    def attestation(self) -> None:
        kind, predicate = self.predicate()
        subjects = self.about()
        header: Json = {"kind": "attestation", "predicateType": kind, "subjects": subjects}
        if self.chance(85):
            signers = self.some(range(len(PARTIES)), 2) if self.chance(30) else [self.fitting(kind)]
            header["signers"] = [PARTIES[i] for i in signers]
            result = self.pick(["verified"] * 12 + ["unverified", "failed"])
            header["verification"] = {"result": result}
        if self.chance(8):
            header["attributes"] = {"conformance": "deviating", "deviation.1": "x: y"}
        payload = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": kind,
            "predicate": predicate,
        }
        self.add(header, json.dumps(payload))

    def fitting(self, kind: str) -> int:
        if kind in (SCAN, VULNS):
            return int(self.pick([0, 4, 4, 6]))
        return int(self.pick([0, 0, 2, 3, 4, 7, 8]))

    def predicate(self) -> tuple[str, Json]:
        makers = {
            PROVENANCE: self.provenance,
            SCAN: self.scan,
            VULNS: self.vulns,
            VEX: self.vex,
            TEST: self.test,
            SVR: self.properties,
            CYCLONEDX: self.cyclonedx,
            CHECKPOINT: self.checkpoint,
        }
        kind = self.pick([PROVENANCE] * 4 + [SCAN] * 6 + [VEX] * 4 + list(makers))
        if self.chance(3):
            return "https://example.com/other/v1", {"x": 1}
        return kind, makers[kind]()

    def provenance(self) -> Json:
        definition: Json = {"buildType": "https://example.com/build"}
        if self.chance(80):
            definition["externalParameters"] = {"ref": self.pick(["v1", "v2", 1, None])}
        if self.chance(40):
            good: list[Any] = [{"uri": "git+https://example.com"}, {"digest": {"sha256": "AA"}}]
            definition["resolvedDependencies"] = self.some_values([*good, {}, {"uri": 7}, 7])
        builder = {"id": self.pick(["b", "b", "c", "b7"])}
        return {"buildDefinition": definition, "runDetails": {"builder": builder}}

    def some_values(self, values: list[Any]) -> list[Any]:
        return [v for v in values if self.chance(45 if isinstance(v, dict | str) else 12)]

    def vulnerability(self) -> tuple[str, list[str], str, str]:
        id_ = self.pick(CVES)
        aliases = [] if self.chance(70) else [self.pick(CVES)]
        severity = self.pick(["CRITICAL", "critical", "High", "medium", "low", "none", "odd", ""])
        return id_, aliases, severity, self.pick(["lib", "lib", "other"])

    def scan_time(self) -> str:
        return str(self.pick([self.later(0, -1, -5, 5), self.later(0), "", "yesterday"]))

    def scan(self) -> Json:
        found: list[Any] = [self.vulnerability() for _ in range(self.pick([0, 0, 1, 1, 2, 3]))]
        report: Json
        if self.chance(50):
            report = {"matches": [self.match(*v) for v in found], "descriptor": {"version": "1"}}
            if self.chance(3):
                report["matches"].append({"artifact": {"name": "x"}})
        else:
            report = {"SchemaVersion": 2}
            if found:
                report["Results"] = [{"Vulnerabilities": [self.trivy(*v) for v in found]}]
        if self.chance(2):
            report = {"runs": []}
        return {
            "scanner": {"uri": "pkg:x/y", "result": report},
            "metadata": {"scanFinishedOn": self.scan_time()},
        }

    def match(self, id_: str, aliases: list[str], severity: str, package: str) -> Json:
        vulnerability: Json = {"id": id_, "severity": severity}
        if self.chance(40):
            score = self.pick([0, 3.95, 7, 9.04, 11])
            vulnerability["cvss"] = [{"metrics": {"baseScore": score}}]
        if self.chance(30):
            vulnerability["fix"] = {"versions": ["1.1", "2.0"]}
        artifact = {"name": package, "version": "1.0", "purl": self.purl(package)}
        found: Json = {"vulnerability": vulnerability, "artifact": artifact}
        if aliases:
            found["relatedVulnerabilities"] = [{"id": a} for a in aliases]
        return found

    def trivy(self, id_: str, aliases: list[str], severity: str, package: str) -> Json:
        found: Json = {
            "VulnerabilityID": id_,
            "VendorIDs": aliases,
            "PkgName": package,
            "InstalledVersion": "1.0",
            "Severity": severity,
            "PkgIdentifier": {"PURL": self.purl(package)},
        }
        if self.chance(40):
            found["CVSS"] = {"nvd": {"V3Score": self.pick([0, 6.95, 8, 10])}}
        return found

    def purl(self, package: str) -> str:
        return f"pkg:golang/example.com/{package}{self.pick(['@1.0', '@1.0', '', '@1.0?a=b&c=d'])}"

    def vulns(self) -> Json:
        found = []
        for _ in range(self.pick([0, 1, 2])):
            id_, _, severity, _ = self.vulnerability()
            scores = self.pick([[{"score": severity}], {"score": "7.25"}, [{"score": 9}], []])
            found.append({"id": id_, "severity": scores})
        uri = self.pick(["pkg:x/Y@1", "https://scanner.example"])
        metadata = {"scanFinishedOn": self.scan_time()}
        return {"scanner": {"uri": uri, "result": found}, "metadata": metadata}

    def vex(self) -> Json:
        statements = [self.statement() for _ in range(self.pick([0, 1, 1, 2, 3]))]
        found: Json = {"author": "x", "statements": statements}
        if self.chance(70):
            found["timestamp"] = self.later(0, -1, -5, 5)
        return found

    def statement(self) -> Json:
        id_, aliases, _, package = self.vulnerability()
        status = ["not_affected", "not_affected", "fixed", "affected", "under_investigation"]
        if self.chance(1):
            status = ["maybe"]
        found: Json = {"vulnerability": {"name": id_}, "status": self.pick(status)}
        if aliases:
            found["vulnerability"]["aliases"] = aliases
        if self.chance(30):
            found["timestamp"] = self.later(0, -2, -30, 3)
        inner = [{"@id": self.purl(package)}]
        if self.chance(50):
            digest = self.pick([self.subject, {"sha256": "b" * 64}])
            product = self.pick(
                [
                    {"@id": "app", "hashes": {"sha-256": digest.get("sha256", "a")}},
                    {"@id": "pkg:oci/app@sha256:" + digest.get("sha256", "a")},
                    {"@id": self.purl(package)},
                    {"@id": "app"},
                ]
            )
            found["products"] = [product]
            if self.chance(30):
                product["subcomponents"] = inner
        if self.chance(10):
            found["subcomponents"] = inner
        return found

    def test(self) -> Json:
        found: Json = {"result": self.pick(["PASSED", "PASSED", "FAILED", "WARNED", "odd"])}
        for name in ("passedTests", "warnedTests", "failedTests"):
            if self.chance(30):
                found[name] = self.some_values(["a", "a", "b", "", 7])
        return found

    def properties(self) -> Json:
        properties = self.some_values(["REVIEWED", "OTHER", "", 7])
        return {"verifier": {"id": "v"}, "timeCreated": self.later(0), "properties": properties}

    def cyclonedx(self) -> Json:
        component: Json = {
            "name": "lib",
            "bom-ref": "l",
            "purl": self.purl("lib"),
            "version": "1.0",
        }
        if self.chance(50):
            component["licenses"] = [{"license": {"id": "MIT"}}]
        found: Json = {"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [component]}
        if self.chance(60):
            found["metadata"] = {"timestamp": self.later(0, -3, 3)}
        if self.chance(70):
            found["vulnerabilities"] = [self.listed() for _ in range(self.pick([0, 1, 2]))]
        return found

    def listed(self) -> Json:
        id_, aliases, severity, _ = self.vulnerability()
        found: Json = {"id": id_, "references": [{"id": a} for a in aliases]}
        found["ratings"] = [{"severity": severity}]
        if self.chance(85):
            found["affects"] = [{"ref": self.pick(["l", "l", "pkg:npm/x@1", "nowhere"])}]
        if self.chance(50):
            state = self.pick(["not_affected", "resolved", "exploitable", "in_triage"])
            found["analysis"] = {"state": state}
        return found

    def checkpoint(self) -> Json:
        return {
            "entity": "orders",
            "checkpoint": self.pick(["50%", "100%", "100.5%"]),
            "acaScore": self.pick([0.95, 0.9, 1]),
            "ts": "2026-04-19T12:00Z",
            "rollbackReady": self.chance(80),
        }

    def finding(self) -> None:
        attributes = {
            "finding": self.pick(CVES),
            "title": "A problem",
            "severity": self.pick([*SEVERITIES, "info", "unknown"]),
            "status": self.pick(["open", "open", "in-progress", "resolved", "reopened"]),
            "source": "audit",
            "detected": self.later(0, -1, -200, -2000),
        }
        if self.chance(20):
            attributes["alias.1"] = self.pick(CVES)
        if self.chance(20):
            attributes["due"] = self.later(-1, 1, 24, 400)
        if attributes["status"] == "resolved" and self.chance(80):
            attributes["resolution"] = "accepted"
        header: Json = {"kind": "finding", "attributes": attributes}
        if self.chance(60):
            header["subjects"] = self.about()
        if "subjects" not in header or self.chance(70):
            header["controls"] = self.some(["A", "B", "C", "Z"], 2)
        self.add(header)

    def person(self) -> str:
        return str(self.pick(SPELLINGS if self.chance(10) else PEOPLE))

    def request(self) -> None:
        id_ = self.pick(["E-1", "E-2", "e-1", "E-3", "E-4"])
        attributes = {"exception": id_, "expires": self.later(1, 5, 30, 100, 2000, 20000)}
        header: Json = {
            "kind": "exception-request",
            "submitter": self.person(),
            "controls": [self.pick([*self.controls, *self.controls, "A", "Z"])],
            "attributes": attributes,
        }
        if self.chance(70):
            header["subjects"] = self.about()
        if "subjects" not in header or self.chance(15):
            for position, glob in enumerate(self.some([*NAME_GLOBS, "* *"], 2)):
                attributes[f"glob.{position + 1}"] = glob
        if self.chance(30):
            for position, id_ in enumerate(self.some(CVES, 2)):
                attributes[f"finding.{position + 1}"] = id_
        if self.chance(20):
            for position, glob in enumerate(self.some(ENVIRONMENT_GLOBS, 2)):
                attributes[f"environment.{position + 1}"] = glob
        if self.chance(20):
            attributes["breakGlass"] = "true"
            if self.chance(60):
                attributes["keyId"] = self.pick(KEYS)
                attributes["used"] = self.later(-5, 0)
                if self.chance(50):
                    header["submitter"] = "token:ci"
            if self.chance(40):
                attributes["usedBy"] = self.pick([*PEOPLE, *PEOPLE, "kubernetes:oncall"])
        added = self.add(header)
        self.requests.append((added["index"], attributes["exception"]))
        if self.chance(50):
            self.decision()

    def decision(self) -> None:
        if not self.requests:
            return
        index, id_ = self.requests[-1] if self.chance(50) else self.pick(self.requests)
        if self.chance(3):
            index, id_ = self.pick(
                [(index, "E-9"), (index, id_.swapcase()), (index + 1, id_), (99, id_)]
            )
        choices = ["approve"] * 8 + ["renew", "renew", "reject", "revoke"]
        attributes = {"exception": id_, "request": str(index), "decision": self.pick(choices)}
        if attributes["decision"] == "renew":
            attributes["expires"] = self.later(2, 24, 24, 24, 3000)
        self.add(
            {"kind": "exception-decision", "submitter": self.person(), "attributes": attributes}
        )

    def key_event(self) -> None:
        party = self.pick(PARTIES)
        names = ["keyId"] if "keyId" in party else ["identity", "issuer"]
        attributes = {n: party[n] for n in names}
        attributes["event"] = self.pick(["retired", "compromised"])
        attributes["from"] = self.later(-100, -24, -1, 0, 0, 1)
        if self.chance(40):
            self.key_of_person()
            return
        self.add({"kind": "key-event", "attributes": attributes, "submitter": PEOPLE[1]})

    def key_of_person(self) -> None:
        attributes = {"keyId": self.pick(KEYS), "from": self.later(-100, -24, -1, 0, 1)}
        attributes["event"] = self.pick(["registered"] * 4 + ["retired", "compromised"])
        if attributes["event"] == "registered":
            attributes["person"] = self.pick(PEOPLE)
        submitter = self.pick([*PEOPLE, *PEOPLE, "token:admin"])
        self.add({"kind": "key-event", "attributes": attributes, "submitter": submitter})

    def gate_decision(self) -> None:
        attributes = {"decision": self.pick(["pass", "blocked"]), "stage": "promote"}
        if self.chance(20):
            attributes["spooled"] = "sha256:" + "0" * 64
        header = {"kind": "gate-decision", "attributes": attributes, "submitter": "server"}
        self.add(header | {"subjects": self.about()})

    def other(self) -> None:
        kind = self.pick(["export-manifest", "inventory", "triage-action"])
        header: Json = {"kind": kind, "subjects": self.about()}
        self.add(header, "{}" if kind != "export-manifest" else json.dumps(self.export()))

    def manifest(self) -> None:
        subjects = [*self.about(), {"name": "x", "digest": self.subject}]
        header: Json = {
            "kind": "export-manifest",
            "predicateType": MANIFEST,
            "subjects": subjects,
            "signers": [PARTIES[i] for i in self.some(range(len(PARTIES)), 2)],
            "verification": {"result": self.pick(["verified"] * 6 + ["failed"])},
        }
        predicate: Json = {
            "tenant": self.pick(["acme", "acme", "globex", ""]),
            "exportId": "x",
            "created": self.later(0),
            "files": self.some_values([self.exported(), self.exported(), {"name": "a"}, 7, None]),
            "residency": {
                "claims": [self.claim() for _ in range(self.pick([1, 1, 2]))],
            },
        }
        if self.chance(70):
            predicate["privacy"] = self.privacy()
        payload = {"subject": subjects, "predicateType": MANIFEST, "predicate": predicate}
        self.add(header, json.dumps({"_type": "https://in-toto.io/Statement/v1"} | payload))

    def exported(self) -> Json:
        found: Json = {"name": "a", "digest": {"sha256": self.pick(["AA", "bb"])}, "size": 10}
        if self.chance(80):
            found["license"] = self.some(["MIT", "MIT", "CC0-1.0"], 2)
        if self.chance(20):
            found["fieldSets"] = [{"fields": ["f"], "license": self.pick([["MIT"], [7], None])}]
        return found

    def signer(self) -> Json:
        return dict(self.pick([*PARTIES, {"issuer": ISSUER}]))

    def claim(self) -> Json:
        countries = self.some(["DE", "DE", "IE"], 2)
        found: Json = {"activity": self.pick(["storage", "storage", "processing", "transit"])}
        found["locations"] = [{"country": country} for country in countries]
        found["claimedBy"] = self.signer()
        if self.chance(50):
            found["evidence"] = [{"index": 1}]
        return found

    def privacy(self) -> Json:
        pure = self.chance(50)
        small = self.pick(["0.1", "0.5", "1"])
        parameters = {"epsilon": small if pure else self.pick(["1", "3", "9"])}
        budget: Json = {"name": "b", "epsilon": self.pick(["0.5", "4", "9"])}
        if not pure or self.chance(10):
            parameters |= {"delta": "0.00001", "rho": small}
            budget["delta"] = self.pick(["0.00001", None, "1"])
        spent = {"epsilon" if pure else "rho": self.pick(["0.1", "0.5", "1", 1])}
        names = ["Laplace", "Laplace", "Laplace" if pure else "Gaussian", "Gaussian"]
        noise = [{"name": self.pick(names), "sensitivity": "1/10", "scale": "1", "count": 2}]
        return {
            "dp_flavor": {"name": "Pure DP" if pure else "Zero-concentrated DP"},
            "privacy_loss": {
                "privacy_unit": "User-level",
                "neighboring_relation": "bounded",
                "privacy_parameters": parameters,
            },
            "mechanisms": noise,
            "sensitivity": {"claimedBy": self.signer()},
            "sampler": {"name": "s", "claimedBy": self.signer()},
            "budget": budget | {"spent": spent},
        }

    def export(self) -> Json:
        return {
            "name": "x",
            "created": "2026-07-01T06:00:00Z",
            "files": [{"path": "a"}],
            "residencyRegions": ["DE"],
        }

    def erasure(self) -> None:
        erased = self.pick(self.entries) if self.entries else None
        if erased is None or erased.get("payloadErased") or "header" not in erased:
            return
        kind = erased["header"]["kind"]
        if kind == "erasure" or (kind in ("control", "control-set") and self.chance(70)):
            return
        whole = self.chance(50) and kind not in ("control", "control-set", "key-event")
        erased["payloadErased"] = True
        erased.pop("payload", None)
        if whole:
            del erased["header"]
        scope = "header-and-payload" if whole else "payload"
        attributes = {"entry": str(erased["index"]), "scope": scope}
        self.add({"kind": "erasure", "attributes": attributes, "submitter": "server"})


def _written(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
