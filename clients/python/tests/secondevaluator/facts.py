"""Facts of evidence (facts.md, sections 1 to 6)."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from . import exports, purl
from .cyclonedx import read_cyclonedx
from .reader import (
    ABSENT,
    LOST,
    Context,
    Json,
    Number,
    Obj,
    Reader,
    boolean,
    elements,
    items,
    join,
    number,
    obj,
    one_of,
    parse,
    required,
    text,
    texts,
    time,
)
from .values import digests, purl_text, score, severity, worst

KIND_TYPE: Final = "https://muniment.dev/predicate/"


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
    name = document_type(header)
    return next((groups for pattern, groups, _ in TYPES if re.fullmatch(pattern, name)), [])


def extract(header: Json, document: str) -> Json | None:
    """Return the facts of an entry with this header and document."""
    name = document_type(header)
    read = next((read for pattern, _, read in TYPES if re.fullmatch(pattern, name)), None)
    if read is None:
        return None
    context = Context()
    groups: Json = {}
    path = "predicate" if "predicateType" in header else ""
    if len(document.encode("utf-8", "surrogatepass")) > 67108864:
        return {"version": 1, "exceeded": "payload"}
    try:
        value = parse(document)
    except (ValueError, RecursionError):
        context.problem("", "malformed")
    else:
        if value is None and path:
            value = Obj([])
        result = read(context, value, path)
        if context.too_deep:
            return {"version": 1, "exceeded": "depth"}
        groups = {} if result is LOST else result
    return _facts(context, groups)


def _facts(context: Context, groups: Json) -> Json:
    facts: Json = {"version": 1}
    problems = context.problems + context.late
    if problems:
        facts["problems"] = problems[:16]
        facts["problemCount"] = len(problems)
    for name, group in groups.items():
        if name in context.exceeded:
            group["exceeded"] = context.exceeded[name]
        elif name in context.dropped:
            group["dropped"] = context.dropped[name]
        facts[name] = group
    return facts


def _group(name: str, *rows: tuple[str, str, Reader, str], lists: tuple[str, ...] = ()) -> Reader:
    read = obj(*rows)

    def group(context: Context, value: Any, path: str) -> Any:
        found = read(context, value, path)
        if found is LOST:
            return LOST
        present = {key: value for key, value in found.items() if value != []}
        return {name: {key: [] for key in lists} | present}

    return group


# --- scan


def _ignored(_context: Context, _value: Any, _path: str) -> Any:
    return ABSENT


def _fixed(context: Context, value: Any, path: str) -> Any:
    if not isinstance(value, list):
        return context.problem(path, "wrong-type")
    read = [text()(context, child, f"{path}[{i}]") for i, child in enumerate(value)]
    found = dict.fromkeys(version for version in read if version not in (LOST, ABSENT))
    return ", ".join(found) or ABSENT


def _cvss(context: Context, value: Any, path: str) -> Any:
    if not isinstance(value, Obj):
        return context.problem(path, "wrong-type")
    scores: list[float] = []
    for _, source in value.pairs:
        if source is None:
            continue
        rows = [(f"V{v}Score", "o", score, f"{v}") for v in ("2", "3", "40")]
        found = obj(*rows)(context, source, path)
        if found is LOST:
            return LOST
        scores += found.values()
    return scores


def _scores(context: Context, value: Any, path: str) -> Any:
    found = items(obj(("metrics.baseScore", "o", score, "score")))(context, value, path)
    return found if found is LOST else [f["score"] for f in found if "score" in f]


def _ids(context: Context, value: Any, path: str) -> Any:
    found = items(obj(("id", "s", text(), "id")))(context, value, path)
    return found if found is LOST else [f["id"] for f in found if "id" in f]


def finish_vulnerability(found: Json) -> Json:
    """Order the facts of a vulnerability, and derive its severity from its scores."""
    aliases = [a for a in dict.fromkeys(found.get("aliases", [])) if a != found["id"]]
    best = max(found.get("scores", []), default=0.0)
    result: Json = {"id": found["id"]}
    if aliases:
        result["aliases"] = aliases
    result["severity"] = worst(found.get("severities", []), best)
    if best:
        result["score"] = best
    package = {n: found[n] for n in ("purl", "name", "version") if n in found}
    if package:
        result["package"] = package
    for name in ("fixed", "published"):
        if name in found:
            result[name] = found[name]
    return result


def _vulnerability(read: Reader) -> Reader:
    def vulnerability(context: Context, value: Any, path: str) -> Any:
        found = read(context, value, path)
        if found is LOST:
            return LOST
        if len(found.get("aliases", [])) > 64:
            return context.problem(path, "too-long")
        return finish_vulnerability(found)

    return vulnerability


def _one_severity(context: Context, value: Any, path: str) -> Any:
    word = severity(context, value, path)
    return word if word in (LOST, ABSENT) else [word]


_TRIVY: Final = _vulnerability(
    obj(
        ("VulnerabilityID", "r", text(), "id"),
        ("VendorIDs", "s", texts(), "aliases"),
        ("Severity", "o", _one_severity, "severities"),
        ("CVSS", "s", _cvss, "scores"),
        ("PkgIdentifier.PURL", "o", purl_text, "purl"),
        ("PkgName", "s", text(), "name"),
        ("InstalledVersion", "s", text(), "version"),
        ("FixedVersion", "o", text(), "fixed"),
        ("PublishedDate", "o", time, "published"),
    )
)
_GRYPE: Final = _vulnerability(
    obj(
        ("vulnerability.id", "r", text(), "id"),
        ("relatedVulnerabilities", "s", _ids, "aliases"),
        ("vulnerability.severity", "o", _one_severity, "severities"),
        ("vulnerability.cvss", "s", _scores, "scores"),
        ("artifact.purl", "o", purl_text, "purl"),
        ("artifact.name", "s", text(), "name"),
        ("artifact.version", "s", text(), "version"),
        ("vulnerability.fix.versions", "o", _fixed, "fixed"),
    )
)


def _report(context: Context, value: Any, path: str) -> Any:
    if not isinstance(value, Obj):
        return context.problem(path, "wrong-type")
    trivy = value.has("SchemaVersion") or value.has("Results")
    if trivy and value.has("matches"):
        return context.problem(path, "wrong-value")
    if not trivy and not value.has("matches"):
        return context.problem(path, "unsupported")
    version = ("descriptor.version", "o", text(), "version")
    if trivy:
        each = obj(("Vulnerabilities", "s", elements(_TRIVY, "scan"), "list"))
        schema = ("SchemaVersion", "o", _ignored, "schema")
        found = obj(("Results", "s", items(each), "results"), schema, version)(context, value, path)
        if found is LOST:
            return LOST
        vulnerabilities = [v for r in found.get("results", []) for v in r.get("list", [])]
    else:
        rows = ("matches", "s", elements(_GRYPE, "scan"), "list")
        found = obj(rows, version)(context, value, path)
        if found is LOST:
            return LOST
        vulnerabilities = found.get("list", [])
    scanner = "trivy" if trivy else "grype"
    return {"name": scanner, "version": found.get("version"), "vulnerabilities": vulnerabilities}


def _cosign(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("scanner.result", "s", _report, "report"),
        ("scanner.version", "o", text(), "version"),
        ("metadata.scanFinishedOn", "o", time, "time"),
    )(context, value, path)
    if found is LOST:
        return LOST
    if "report" not in found:
        return context.problem(join(path, "scanner.result"), "unsupported")
    report = found["report"]
    version = found.get("version") or report["version"]
    scanner = {"name": report["name"]} | ({"version": version} if version else {})
    return {"scan": _scan(scanner, found, report["vulnerabilities"])}


def _scan(scanner: Json, found: Json, vulnerabilities: list[Json]) -> Json:
    when = {"time": found["time"]} if "time" in found else {}
    return {"scanner": scanner, **when, "vulnerabilities": vulnerabilities}


def _score_or_word(context: Context, value: Any, path: str) -> Any:
    if isinstance(value, Number):
        return score(context, value, path)
    word = severity(context, value, path)
    if word in (LOST, ABSENT):
        return word
    if re.fullmatch(r"\d+(\.\d+)?", value) and float(value) <= 10:
        return score(context, Number(value), path)
    return word


def _vuln_severities(context: Context, value: Any, path: str) -> Any:
    each = obj(("score", "o", _score_or_word, "score"))
    found = items(each)(context, value, path) if isinstance(value, list) else None
    if found is None:
        one = each(context, value, path)
        found = LOST if one is LOST else [one]
    return found if found is LOST else [f["score"] for f in found if "score" in f]


def _vulns(old: bool) -> Reader:
    rows: list[tuple[str, str, Reader, str]] = [
        ("id", "s" if old else "r", text(), "own"),
        ("severity", "s", _vuln_severities, "ratings"),
    ]
    if old:
        rows += [
            ("vulnerability.id", "s", text(), "inner"),
            ("vulnerability.severity", "s", _vuln_severities, "more"),
        ]
    read = obj(*rows)

    def vulnerability(context: Context, value: Any, path: str) -> Any:
        found = read(context, value, path)
        if found is LOST:
            return LOST
        ids = [found[n] for n in ("inner", "own") if n in found]
        if not ids:
            return context.problem(join(path, "id"), "missing")
        ratings = found.get("ratings", []) + found.get("more", [])
        return finish_vulnerability(
            {
                "id": ids[0],
                "aliases": ids[1:],
                "severities": [r for r in ratings if isinstance(r, str)],
                "scores": [r for r in ratings if isinstance(r, float)],
            }
        )

    def document(context: Context, value: Any, path: str) -> Any:
        found = obj(
            ("scanner.uri", "r", text(), "uri"),
            ("scanner.version", "o", text(), "version"),
            ("scanner.result", "r", elements(vulnerability, "scan"), "list"),
            ("metadata.scanFinishedOn", "o", time, "time"),
        )(context, value, path)
        if found is LOST:
            return LOST
        url = purl.parse(found["uri"])
        scanner = {"name": url.name() if url else found["uri"]}
        if "version" in found:
            scanner["version"] = found["version"]
        return {"scan": _scan(scanner, found, found["list"])}

    return document


# --- vex

_STATUS: Final = ("not_affected", "affected", "fixed", "under_investigation")


def _identity(inner: bool) -> Reader:
    def read(context: Context, value: Any, path: str) -> Any:
        found: Any
        if isinstance(value, str):
            name = text()(context, value, path)
            found = LOST if name is LOST else {} if name is ABSENT else {"id": name}
        else:
            rows: list[tuple[str, str, Reader, str]] = [
                ("@id", "s", text(), "id"),
                ("identifiers.purl", "s", text(), "purl"),
                ("hashes", "s", digests(names_of_hashes=True), "digests"),
            ]
            if inner:
                rows.append(("subcomponents", "s", items(_identity(False)), "subcomponents"))
            found = obj(*rows)(context, value, path)
        if found is LOST:
            return LOST
        if "purl" not in found and found.get("id", "").startswith("pkg:"):
            found["purl"] = found.pop("id")
        if "purl" in found:
            url = purl.parse(found["purl"])
            if url is None:
                return context.problem(path, "wrong-value")
            found["purl"] = str(url)
        if not {"id", "purl", "digests"} & found.keys():
            return context.problem(path, "missing")
        return {n: found[n] for n in ("id", "purl", "digests", "subcomponents") if found.get(n)}

    return read


def _vex_vulnerability(context: Context, value: Any, path: str) -> Any:
    if isinstance(value, str):
        name = required(text())(context, value, path)
        return LOST if name is LOST else {"id": name}
    rows = (("name", "s", text(), "id"), ("aliases", "s", texts(), "aliases"))
    found = obj(*rows)(context, value, path)
    if found is LOST:
        return LOST
    return found if "id" in found else context.problem(path, "missing")


def _statement(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("vulnerability", "r", _vex_vulnerability, "vulnerability"),
        ("status", "r", one_of(*_STATUS), "status"),
        ("justification", "o", text(), "justification"),
        ("last_updated", "s", time, "updated"),
        ("timestamp", "s", time, "time"),
        ("products", "s", items(_identity(True)), "products"),
        ("subcomponents", "s", items(_identity(False)), "subcomponents"),
    )(context, value, path)
    if found is LOST:
        return LOST
    vulnerability = found.pop("vulnerability")
    aliases = [a for a in vulnerability.get("aliases", []) if a != vulnerability["id"]]
    result = {"id": vulnerability["id"]} | ({"aliases": aliases} if aliases else {})
    if "updated" in found:
        found["time"] = found["updated"]
    names = ("status", "justification", "time", "products", "subcomponents")
    return result | {n: found[n] for n in names if found.get(n)}


def _openvex(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("author", "o", text(), "author"),
        ("statements", "r", elements(_statement, "vex"), "statements"),
        ("last_updated", "s", time, "updated"),
        ("timestamp", "s", time, "time"),
    )(context, value, path)
    if found is LOST:
        return LOST
    when = found.get("updated", found.get("time"))
    for statement in found["statements"]:
        if when and "time" not in statement:
            statement["time"] = when
    author = {"author": found["author"]} if "author" in found else {}
    return {"vex": author | {"statements": found["statements"]}}


# --- sbom


def _references(context: Context, value: Any, path: str) -> Any:
    def reference(context: Context, value: Any, where: str) -> Any:
        read = purl_text if isinstance(value, Obj) and _is_purl(value) else _ignored
        rows = (("referenceType", "o", text(), "type"), ("referenceLocator", "o", read, "purl"))
        return obj(*rows)(context, value, where)

    found = items(reference)(context, value, path)
    if found is LOST:
        return LOST
    return next((f["purl"] for f in found if "purl" in f), ABSENT)


def _is_purl(reference: Obj) -> bool:
    return ("referenceType", "purl") in reference.pairs


def _package(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("name", "r", text(), "name"),
        ("versionInfo", "s", text(), "version"),
        ("externalRefs", "s", _references, "purl"),
        ("licenseConcluded", "s", text(), "concluded"),
        ("licenseDeclared", "s", text(), "declared"),
    )(context, value, path)
    if found is LOST:
        return LOST
    stated = [found.get(n, "NONE") for n in ("concluded", "declared")]
    licenses = [name for name in stated if name not in ("NONE", "NOASSERTION")]
    result = {n: found[n] for n in ("purl", "name", "version") if n in found}
    return result | ({"licenses": licenses[:1]} if licenses else {})


def _spdx_version(value: str) -> str | None:
    return value[5:] if value.startswith("SPDX-2.") else None


def _spdx(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("spdxVersion", "r", text(_spdx_version), "version"),
        ("name", "o", text(), "name"),
        ("creationInfo.created", "o", time, "time"),
        ("packages", "s", elements(_package, "sbom"), "components"),
    )(context, value, path)
    if found is LOST:
        return LOST
    return {"sbom": {"format": "SPDX", "components": []} | found}


# --- build


def plain(value: Any) -> Any:
    """Return JSON as Python has it, or LOST if a name occurs twice."""
    if isinstance(value, Obj):
        if len({name for name, _ in value.pairs}) != len(value.pairs):
            return LOST
        members = {name: plain(member) for name, member in value.pairs}
        return LOST if any(m is LOST for m in members.values()) else members
    if isinstance(value, list):
        found = [plain(element) for element in value]
        return LOST if any(e is LOST for e in found) else found
    if isinstance(value, Number):
        return int(value.text) if re.fullmatch(r"-?\d+", value.text) else float(value)
    return value


def _raw(context: Context, value: Any, path: str) -> Any:
    if not isinstance(value, Obj):
        return context.problem(path, "wrong-type")
    found = plain(value)
    return context.problem(path, "duplicate-member") if found is LOST else found


def _resource(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("name", "s", text(), "name"),
        ("uri", "s", text(), "uri"),
        ("digest", "s", digests(), "digests"),
    )(context, value, path)
    return found if found is LOST else found or ABSENT


def _with_parameters(group: Json) -> Json:
    parameters = group.get("parameters")
    if parameters and len(json.dumps(parameters, separators=(",", ":")).encode()) > 65536:
        del group["parameters"]
        group["parametersExceeded"] = True
    return group


def _provenance_1(context: Context, value: Any, path: str) -> Any:
    found = _group(
        "build",
        ("runDetails.builder.id", "r", text(), "builder"),
        ("buildDefinition.buildType", "r", text(), "type"),
        ("runDetails.metadata.invocationId", "s", text(), "invocation"),
        ("runDetails.metadata.startedOn", "o", time, "started"),
        ("runDetails.metadata.finishedOn", "o", time, "finished"),
        ("buildDefinition.externalParameters", "s", _raw, "parameters"),
        ("buildDefinition.resolvedDependencies", "s", elements(_resource, "build"), "materials"),
        lists=("materials",),
    )(context, value, path)
    return found if found is LOST else {"build": _with_parameters(found["build"])}


def _provenance_02(context: Context, value: Any, path: str) -> Any:
    found = _group(
        "build",
        ("builder.id", "r", text(), "builder"),
        ("buildType", "r", text(), "type"),
        ("metadata.buildInvocationId", "s", text(), "invocation"),
        ("metadata.buildStartedOn", "o", time, "started"),
        ("metadata.buildFinishedOn", "o", time, "finished"),
        ("invocation.configSource", "s", _raw, "configSource"),
        ("invocation.parameters", "s", _raw, "parameters"),
        ("materials", "s", elements(_resource, "build"), "materials"),
        lists=("materials",),
    )(context, value, path)
    if found is LOST:
        return LOST
    group = found["build"]
    names = [n for n in ("configSource", "parameters") if n in group]
    parameters = {n: group.pop(n) for n in names}
    if parameters:
        group["parameters"] = parameters
    return {"build": _with_parameters(group)}


# --- the other groups


def _names(group: str) -> Reader:
    return elements(required(text()), group)


def _level(context: Context, value: Any, path: str) -> Any:
    found = text()(context, value, path)
    return found if found in (LOST, ABSENT) else [found]


def _property(context: Context, value: Any, path: str) -> Any:
    found = required(text())(context, value, path)
    return found if found is LOST else {"name": found}


def _attribute(context: Context, value: Any, path: str) -> Any:
    def unsupported(context: Context, _: Any, path: str) -> Any:
        return context.problem(path, "unsupported")

    return obj(
        ("attribute", "r", text(), "name"),
        ("target", "s", required(_resource), "target"),
        ("conditions", "s", unsupported, "conditions"),
    )(context, value, path)


def _scai(context: Context, value: Any, path: str) -> Any:
    found = obj(
        ("producer", "s", _resource, "producer"),
        ("attributes", "r", elements(_attribute, "properties"), "properties"),
    )(context, value, path)
    if found is LOST:
        return LOST
    producer = found.pop("producer", {})
    verifier = producer.get("uri") or producer.get("name")
    return {"properties": ({"verifier": verifier} if verifier else {}) | found}


def _percentage(value: str) -> str | None:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,2})?)%", value)
    return value if match and float(match[1]) <= 100 else None


TYPES: Final[list[tuple[str, list[str], Reader]]] = [
    (r"https://cosign\.sigstore\.dev/attestation/vuln/v1", ["scan"], _cosign),
    (r"https://in-toto\.io/attestation/vulns/v0\.1", ["scan"], _vulns(True)),
    (r"https://in-toto\.io/attestation/vulns/v0\.2", ["scan"], _vulns(False)),
    (r"https://openvex\.dev/ns(/v\d+\.\d+(\.\d+)*)?", ["vex"], _openvex),
    (r"https://spdx\.dev/Document(/v2(\.\d+)?)?", ["sbom"], _spdx),
    (r"application/spdx\+json", ["sbom"], _spdx),
    (r"https://cyclonedx\.org/bom(/v?\d+(\.\d+)?)?", ["sbom", "scan", "vex"], read_cyclonedx),
    (r"application/vnd\.cyclonedx\+json", ["sbom", "scan", "vex"], read_cyclonedx),
    (r"https://slsa\.dev/provenance/v1", ["build"], _provenance_1),
    (r"https://slsa\.dev/provenance/v0\.2", ["build"], _provenance_02),
    (
        r"https://in-toto\.io/attestation/test-result/v0\.1",
        ["test"],
        _group(
            "test",
            ("result", "r", one_of("PASSED", "WARNED", "FAILED"), "result"),
            ("url", "o", text(), "url"),
            ("configuration", "s", elements(_resource, "test"), "configuration"),
            ("passedTests", "s", _names("test"), "passed"),
            ("warnedTests", "s", _names("test"), "warned"),
            ("failedTests", "s", _names("test"), "failed"),
        ),
    ),
    (
        r"https://slsa\.dev/verification_summary/v1",
        ["summary"],
        _group(
            "summary",
            ("verifier.id", "r", text(), "verifier"),
            ("resourceUri", "r", text(), "resource"),
            ("policy", "s", _resource, "policy"),
            ("verificationResult", "r", one_of("PASSED", "FAILED"), "result"),
            ("verifiedLevels", "s", _names("summary"), "levels"),
            ("timeVerified", "s", time, "time"),
            lists=("levels",),
        ),
    ),
    (
        r"https://slsa\.dev/verification_summary/v0\.2",
        ["summary"],
        _group(
            "summary",
            ("verifier.id", "r", text(), "verifier"),
            ("resource_uri", "r", text(), "resource"),
            ("policy", "s", _resource, "policy"),
            ("verification_result", "r", one_of("PASSED", "FAILED"), "result"),
            ("policy_level", "s", _level, "levels"),
            ("time_verified", "s", time, "time"),
            lists=("levels",),
        ),
    ),
    (
        r"https://in-toto\.io/attestation/svr/v0\.1",
        ["properties"],
        _group(
            "properties",
            ("verifier.id", "r", text(), "verifier"),
            ("timeCreated", "s", time, "time"),
            ("properties", "s", elements(_property, "properties"), "properties"),
            lists=("properties",),
        ),
    ),
    (r"https://in-toto\.io/attestation/scai/v0\.3", ["properties"], _scai),
    (
        re.escape(KIND_TYPE) + "backfill-checkpoint/v1",
        ["checkpoint"],
        _group(
            "checkpoint",
            ("entity", "r", text(), "entity"),
            ("checkpoint", "r", text(_percentage), "checkpoint"),
            ("acaScore", "r", number(0, 1), "acaScore"),
            ("ts", "r", text(), "ts"),
            ("rollbackReady", "r", boolean, "rollbackReady"),
        ),
    ),
    (re.escape(KIND_TYPE) + "export-manifest/v1", ["export"], exports.version1),
    (re.escape(KIND_TYPE) + "export-manifest/v2", ["export"], exports.version2),
    (
        re.escape(KIND_TYPE) + "vetting/v1",
        ["vetting"],
        _group(
            "vetting",
            ("image", "r", text(), "image"),
            ("vetted", "r", time, "vetted"),
            ("expires", "r", time, "expires"),
        ),
    ),
]
