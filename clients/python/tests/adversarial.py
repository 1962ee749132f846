"""Generates docs/spec/vectors/adversarial.json: cases where the specification is easily misread.

Run `PYTHONPATH=src:tests python tests/adversarial.py` in clients/python. Verdicts and codes are
written by hand, from the specification. The reports come from this verifier, and the other
verifiers must reproduce them.
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

from log import SALT, STREAM_KEY, encode
from muniment import Policy, hashes, verify
from test_policy import LOG, ORIGIN, Signer
from vectors import FOLDER, NAMES

FILE = FOLDER / "adversarial.json"

EVIDENCE = b'{"evidence":"elsewhere"}'
PAYLOAD = b"payload"
W = [Signer(f"witness{number}.example", 4) for number in range(3)]
SUBSET = "".join(f"witness W{number} {signer.vkey}\n" for number, signer in enumerate(W))

POLICIES = {
    "log": f"log {LOG.vkey}\nquorum none\n",
    "witness 0": f"log {LOG.vkey}\n{SUBSET}quorum W0\n",
    "any": f"log {LOG.vkey}\n{SUBSET}group g any W0 W1\nquorum g\n",
    "other": f"log {Signer('other.example', 1).vkey}\nquorum none\n",
    "malformed": f"log {LOG.vkey}\r\nquorum none\r\n",
}
PAYLOADS = {"payload": PAYLOAD, "evidence": EVIDENCE, "empty": b""}
STREAM_KEYS = {"key": STREAM_KEY.hex() + "\n", "upper": "AB" * 32}

Document = dict[str, Any]


def header(**changes: Any) -> Document:  # noqa: ANN401 - JSON
    """Return a header whose members are overridden by `changes`. None removes a member."""
    members: Document = {
        "origin": ORIGIN,
        "tenant": "acme",
        "kind": "attestation",
        "mediaType": "text/plain",
        "submitter": "me",
        "verification": {"result": "verified"},
        "payload": {"commitment": encode(hashes.payload_commitment(SALT, PAYLOAD)), "size": 7},
    } | changes
    return {name: value for name, value in members.items() if value is not None}


def receipt(
    content: Document | str | None = None,
    *,
    origin: str = ORIGIN,
    seq: int = 0,
    prev: bytes | None = None,
    index: int = 0,
    time: int = 5,
    lines: Callable[[str], str] = LOG.line,
) -> Document:
    """Return a full receipt from a log with one entry, or with two if `index` is 1."""
    if not isinstance(content, str):
        content = json.dumps(header() if content is None else content, ensure_ascii=False)
    prev = (bytes(32) if seq == 0 else bytes([1]) * 32) if prev is None else prev
    stream = hashes.stream_id(STREAM_KEY)
    tag = hashes.tag(STREAM_KEY, seq)
    link = hashes.link_hash(SALT, stream, seq, prev)
    header_hash = hashes.header_hash(SALT, content.encode())
    entry = hashes.entry_hash(hashes.origin_hash(origin), link, time, header_hash)
    root = hashes.leaf_hash(hashes.leaf_data(tag, entry))
    path = ""
    if index == 1:
        root, path = hashes.node_hash(prev, root), f"{encode(prev)}\n"
    text = f"{origin}\n{index + 1}\n{encode(root)}\n"
    return {
        "mediaType": "application/vnd.muniment.receipt.v2+json",
        "form": "full",
        "tag": encode(tag),
        "time": time,
        "link": {
            "salt": encode(SALT),
            "streamId": encode(stream),
            "seq": seq,
            "prev": encode(prev),
        },
        "header": {"salt": encode(SALT), "content": content},
        "payload": {"salt": encode(SALT), "content": encode(PAYLOAD)},
        "proof": f"c2sp.org/tlog-proof@v1\nindex {index}\n{path}\n{text}\n{lines(text)}",
    }


def case(
    name: str,
    document: Document | bytes | str,
    verdict: str = "verified",
    /,
    *,
    policies: Any = ("log",),  # noqa: ANN401 - names
    **options: Any,  # noqa: ANN401 - JSON
) -> Document:
    """Return a case.

    `verdict` is `verified`, or a reason code. A colon before the code means not checked rather than
    refused.
    """
    if isinstance(document, dict):
        document = json.dumps(document, ensure_ascii=False)
    data = document.encode() if isinstance(document, str) else document
    made: Document = {
        "name": name,
        "receiptBase64": encode(data),
        "policies": list(policies),
    } | options
    if verdict == "verified":
        made |= {"verdict": verdict, "report": report(data, made)}
    elif verdict.startswith(":"):
        made |= {"verdict": "not-checked", "reason": verdict[1:]}
    else:
        made |= {"verdict": "refused", "reason": verdict}
    return made


def report(data: bytes, made: Document) -> Document:
    """Return this verifier's report on a case."""
    expect = made.get("expect", {})
    given: Document = {NAMES[name]: expect[name] for name in expect if name != "streamKey"}
    if "streamKey" in expect:
        given["stream_key"] = STREAM_KEY
    for name in ("payload", "external"):
        if name in made:
            given[name] = PAYLOADS[made[name]]
    policies = [Policy.parse(POLICIES[name].encode(), name) for name in made["policies"]]
    return verify(data, policies, header_only=made.get("headerOnly", False), **given).to_json()


def version_cases() -> Iterator[Document]:
    """Yield faults that rank before or after a media type of another version."""
    other = receipt() | {"mediaType": "application/vnd.muniment.receipt.v1+json"}
    for name, member in (
        ("null", None),
        ("true", True),
        ("an empty array", []),
        ("an object", {"a": {}}),
        ("an empty string", ""),
    ):
        changed = other | {"unknown": member}
        yield case(
            f"another version, and an unknown member that is {name}", changed, "receipt-version"
        )
    nested: Any = 1
    for _ in range(15):
        nested = [nested]
    yield case("another version, 16 levels", other | {"x": nested}, "receipt-version")
    yield case("another version, 17 levels", other | {"x": [nested]}, "receipt-malformed")
    text = json.dumps(other)
    for name, number in (
        ("2^53-1", "9007199254740991"),
        ("2^53", "9007199254740992"),
        ("1e2", "1e2"),
        ("-0", "-0"),
        ("1.0", "1.0"),
        ("00", "00"),
    ):
        verdict = "receipt-version" if name == "2^53-1" else "receipt-malformed"
        numbered = text.replace("{", f'{{"x":[{{"y":{number}}}],', 1)
        yield case(
            f"another version, and the number {name} in an unknown member", numbered, verdict
        )
    for name, piece, verdict in (
        (
            "two equal members inside an unknown one",
            '{"x":{"a":1,"\\u0061":2},',
            "receipt-malformed",
        ),
        ("half a surrogate pair in an unknown member", '{"x":"\\ud800",', "receipt-malformed"),
        ("half a surrogate pair in a name", '{"\\udc00":1,', "receipt-malformed"),
        ("a surrogate pair in a name", '{"\\ud83d\\ude00":1,', "receipt-version"),
        ("a byte of zero in a string", '{"x":"\0",', "receipt-malformed"),
        ("DEL and U+0085 in a string", '{"x":"\x7f\x85",', "receipt-version"),
    ):
        yield case(f"another version, and {name}", text.replace("{", piece, 1), verdict)
    yield case("another version, base64 broken", other | {"tag": "?"}, "receipt-version")
    yield case("another version, no form", other | {"form": None}, "receipt-version")
    yield case("another version, proof broken", other | {"proof": ""}, "receipt-version")
    yield case("a byte order mark", b"\xef\xbb\xbf" + text.encode(), "receipt-malformed")
    yield case("a form feed as white space", "\f" + text, "receipt-malformed")
    yield case("a no-break space as white space", "\u00a0" + text, "receipt-malformed")
    yield case(
        "all four kinds of white space", "\t\n\r " + json.dumps(receipt(), indent="\t") + "\r\n"
    )
    yield case("media type null", receipt() | {"mediaType": None}, "receipt-malformed")
    media_type = {"mediaType": "application/vnd.muniment.receipt.v2+json "}
    yield case("media type with a space", receipt() | media_type, "receipt-version")


def proof_cases() -> Iterator[Document]:
    """Yield malformed proofs, and faults that rank after them."""
    good = receipt()
    yield case("proof empty", good | {"proof": ""}, "proof-malformed")
    yield case("proof a number", good | {"proof": 1}, "receipt-malformed")
    yield case("proof and form broken", good | {"proof": "", "form": "x"}, "receipt-malformed")
    content = good | {"proof": "", "header": {"salt": encode(SALT), "content": ""}}
    yield case("proof and header broken", content, "proof-malformed")
    for name, old, new in (
        ("an empty origin", ORIGIN, ""),
        ("CRLF", "\n", "\r\n"),
        ("two empty lines before the signatures", "\n\n\N{EM DASH}", "\n\n\n\N{EM DASH}"),
        ("a hyphen for the dash", "\N{EM DASH} ", "- "),
        ("two spaces after the dash", "\N{EM DASH} ", "\N{EM DASH}  "),
        ("a no-break space after the dash", "\N{EM DASH} ", "\N{EM DASH}\u00a0"),
        ("a tab in the origin", ORIGIN, ORIGIN + "\t"),
        ("an index of 2^53", "index 0", "index 9007199254740992"),
        ("an index of 20 digits", "index 0", "index 18446744073709551616"),
        ("an index in other digits", "index 0", "index \u0660"),
        ("a tree size with a space", f"{ORIGIN}\n1\n", f"{ORIGIN}\n1 \n"),
        ("the first line in upper case", "c2sp.org", "C2SP.org"),
    ):
        changed = good["proof"].replace(old, new)
        yield case(f"proof with {name}", good | {"proof": changed}, "proof-malformed")
    yield case(
        "an index of 2^53-1",
        good | {"proof": good["proof"].replace("index 0", "index 9007199254740991")},
        "inclusion",
    )
    yield case(
        "a tree of size 0",
        good | {"proof": good["proof"].replace(f"{ORIGIN}\n1\n", f"{ORIGIN}\n0\n")},
        "checkpoint-signature",
    )
    for name, key_name in (
        ("U+0085", "a\x85"),
        ("U+001F", "a\x1f"),
        ("U+2028", "a\u2028"),
        ("U+3000", "a\u3000"),
        ("a plus", "a+b"),
    ):
        changed = good["proof"] + f"\N{EM DASH} {key_name} AAAAAAA=\n"
        yield case(f"unknown key name with {name}", good | {"proof": changed}, "proof-malformed")
    for name, key_name in (
        ("DEL", "a\x7f"),
        ("U+200B", "a\u200b"),
        ("U+180E", "a\u180e"),
        ("U+FEFF", "\ufeff"),
        ("U+202E", "\u202e"),
        ("a dash", "\N{EM DASH}"),
    ):
        changed = good["proof"] + f"\N{EM DASH} {key_name} AAAAAAA=\n"
        yield case(f"unknown key name with {name}", good | {"proof": changed})


def checkpoint_cases() -> Iterator[Document]:
    """Yield signature lines and policies, and combinations of the faults of step 7."""
    bad = LOG.raw_line(bytes(64))
    bad_witness = W[0].raw_line(bytes(72))

    def lines(*makers: Callable[[str], str] | str) -> Callable[[str], str]:
        return lambda text: "".join(m if isinstance(m, str) else m(text) for m in makers)

    yield case("second line of the log broken", receipt(lines=lines(LOG.line, bad)))
    broken = receipt(lines=lines(bad, LOG.line))
    yield case("first line of the log broken", broken, "checkpoint-signature")
    long = receipt(lines=lines(LOG.raw_line(bytes(72))))
    yield case("line of the log as long as a cosignature", long, "checkpoint-signature")
    unsigned = receipt(lines=lines(bad_witness))
    witness = ("witness 0",)
    yield case(
        "no line of the log, witness broken", unsigned, "checkpoint-signature", policies=witness
    )
    yield case("no line of the log, unknown witness broken", unsigned, "checkpoint-unsigned")
    spare = receipt(lines=lines(LOG.line, W[0].line, W[2].raw_line(bytes(72))))
    yield case(
        "a witness of the file that the quorum does not use is broken", spare, policies=witness
    )
    member = receipt(lines=lines(LOG.line, W[0].line, W[1].raw_line(bytes(72))))
    yield case(
        "a spare member of the quorum is broken", member, "checkpoint-signature", policies=("any",)
    )
    late = receipt(lines=lines(LOG.line, lambda text: W[0].line(text, time=2**63 - 1)))
    yield case("a cosignature of the time 2^63-1", late, policies=witness)
    later = receipt(lines=lines(LOG.line, lambda text: W[0].line(text, time=2**63)))
    yield case("a cosignature of the time 2^63", later, "checkpoint-signature", policies=witness)
    alone = receipt()
    for names, verdict in (
        (("other", "witness 0"), "checkpoint-quorum"),
        (("witness 0", "other"), "checkpoint-quorum"),
        (("other", "other"), "checkpoint-origin"),
        (("witness 0", "log"), "verified"),
        (("malformed", "log"), ":policy-malformed"),
        (("log", "malformed"), ":policy-malformed"),
    ):
        yield case(f"policies {' and '.join(names)}", alone, verdict, policies=names)
    both = receipt(lines=lines(LOG.line, bad_witness))
    three = ("witness 0", "any", "other")
    yield case("three policies, all refuse", both, "checkpoint-signature", policies=three)
    yield case("no policy, and a malformed receipt", "", ":policy-missing", policies=())
    moved = receipt(origin="other.example")
    yield case("signed by the key of another log", moved, "checkpoint-origin")


def link_cases() -> Iterator[Document]:
    """Yield sequence numbers, and combinations of the faults of steps 2 to 9."""
    yield case("seq equal to the index", receipt(seq=1, index=1))
    yield case("seq 0 at the index 1", receipt(index=1, prev=bytes(32)))
    far = receipt(seq=2, index=1)
    yield case("seq above the index", far, "link-seq")
    key = {"streamKey": "key"}
    yield case("seq above the index, right tag", far, "link-seq", expect=key)
    zero = receipt(seq=2, index=1, prev=bytes(32))
    yield case("seq above the index, and prev zero", zero, "link-prev")
    unsigned = receipt(seq=2, index=1, lines=lambda _: "\N{EM DASH} x AAAAAAA=\n")
    yield case("seq above the index, and no signature", unsigned, "link-seq")
    largest = receipt(seq=2**53 - 1, index=1)
    yield case("the largest seq", largest, "link-seq")
    yield case("the largest time", receipt(time=2**53 - 1))
    broken = receipt(header(kind="Attestation"), seq=2, index=1)
    yield case("header and seq broken", broken, "header-malformed")
    yield case("header broken, another payload", broken, "payload-differs", payload="empty")
    mismatch = receipt(header(kind="x", payload={"commitment": encode(bytes(32)), "size": 7}))
    yield case("another commitment, and no signature", mismatch, "payload-mismatch")
    detached = receipt(header(kind="Attestation")) | {
        "form": "detached",
        "payload": {"salt": encode(SALT)},
    }
    yield case("header broken, and no payload", detached, "payload-missing")
    yield case("header broken, header only", detached, "header-malformed", headerOnly=True)
    elsewhere = receipt(header(origin="other.example"))
    expect = {"tenant": "other"}
    yield case("another origin, another tenant", elsewhere, "origin-mismatch", expect=expect)
    yield case(
        "malformed receipt, malformed subject",
        "",
        ":expectation-malformed",
        expect={"subject": "x"},
    )
    yield case(
        "malformed receipt, malformed key",
        "",
        ":stream-key-malformed",
        expect={"streamKey": "upper"},
    )


def header_cases() -> Iterator[Document]:
    """Yield headers that are almost well formed, and well-formed headers that are unusual."""
    digest = "sha256:" + "ab" * 32
    for name, changes in (
        ("tenant with a line feed", {"tenant": "acme\n"}),
        ("tenant of 64 characters", {"tenant": "a" * 64}),
        ("tenant that ends in a hyphen", {"tenant": "acme-"}),
        ("kind with a line feed", {"kind": "attestation\n"}),
        ("kind of 64 characters", {"kind": "k" * 64}),
        ("kind that begins with a digit", {"kind": "1"}),
        (
            "admission policy in upper case",
            {"admissionPolicy": digest.upper().replace("SHA", "sha")},
        ),
        ("admission policy with a line feed", {"admissionPolicy": digest + "\n"}),
        ("a subject without digest", {"subjects": [{"name": "n"}]}),
        ("a subject with an empty digest", {"subjects": [{"digest": {}}]}),
        ("a digest without name", {"subjects": [{"digest": {"": "x"}}]}),
        ("a digest that is a number", {"subjects": [{"digest": {"x": 1}}]}),
        ("a signer without members", {"signers": [{}]}),
        ("a signer that is empty text", {"signers": [{"keyId": ""}]}),
        ("no attribute", {"attributes": {}}),
        ("an attribute without name", {"attributes": {"": "x"}}),
        ("an attribute that is true", {"attributes": {"x": True}}),
        ("an empty media type", {"mediaType": ""}),
        ("a result in upper case", {"verification": {"result": "Verified"}}),
        ("an admission without result", {"admission": {"rule": "r"}}),
        ("an admission refused", {"admission": {"result": "refused"}}),
        ("external without size", {"external": {"digest": {"sha256": "x"}}}),
        ("external of size true", {"external": {"digest": {"sha256": "x"}, "size": True}}),
        (
            "a trusted root that is no digest",
            {"verification": {"result": "verified", "trustedRoot": "x"}},
        ),
        ("a member null", {"controls": []}),
        ("a member of later versions", {"later": "x"}),
    ):
        yield case(f"header: {name}", receipt(header(**changes)), "header-malformed")
    text = json.dumps(header())
    for name, changed in (
        ("two origins", text.replace("{", '{"ori\\u0067in":"x",', 1)),
        ("null", text.replace("{", '{"controls":null,', 1)),
        ("a number that is no integer", text.replace('"size": 7', '"size": 7.0')),
        ("a sign", text.replace('"size": 7', '"size": +7')),
        ("half a surrogate pair", text.replace('"me"', '"\\ud800"')),
        ("text after it", text + "{}"),
        ("nothing", ""),
    ):
        yield case(f"header: {name}", receipt(changed), "header-malformed")
    for name, changes in (
        ("tenant of 63 characters", {"tenant": "a" * 63}),
        ("kind of 63 characters", {"kind": "k" * 63}),
        ("kind that ends in a hyphen", {"kind": "k-"}),
        ("names of JavaScript", {"attributes": {"__proto__": "x", "constructor": "y"}}),
        ("digests of JavaScript", {"subjects": [{"digest": {"__proto__": "x", "toString": "y"}}]}),
        ("invisible characters", {"submitter": "\u202e\u2066\u200b\x7f\x85\u2028\ufeff"}),
        ("characters above U+FFFF", {"submitter": "\U0001f600"}),
        ("a noncharacter", {"submitter": "\uffff"}),
    ):
        yield case(f"header: {name}", receipt(header(**changes)))


def expectation_cases() -> Iterator[Document]:
    """Yield expectations that are almost met."""
    digest = "ab" * 32
    subjects = [{"digest": {"SHA256": digest.upper(), "other": "Xy", "hex": "AB"}}]
    signers = [
        {"identity": "a@x", "issuer": "https://x"},
        {"identity": "b@y", "keyId": "k", "issuer": "https://y"},
        {"keyId": "a@z"},
    ]
    entry = receipt(
        header(
            subjects=subjects,
            signers=signers,
            predicateType="https://slsa.dev/provenance/v1",
            controls=["C-1", "C-2"],
            admission={"result": "admitted"},
        )
    )
    for name, expect, verdict in (
        ("sha256 in lower case", {"subject": f"sha256:{digest}"}, "verified"),
        ("Sha256 in upper case", {"subject": f"Sha256:{digest.upper()}"}, "verified"),
        ("an unknown algorithm, hexadecimal", {"subject": "HEX:ab"}, "verified"),
        ("an unknown algorithm, not hexadecimal", {"subject": "other:Xy"}, "verified"),
        ("an unknown algorithm, other case", {"subject": "other:xy"}, "subject-mismatch"),
        ("a prefix of the digest", {"subject": f"sha256:{digest[:-1]}"}, ":expectation-malformed"),
        ("the name of the algorithm alone", {"subject": "sha256:"}, ":expectation-malformed"),
        ("SHA-256 with a hyphen", {"subject": f"sha-256:{digest}"}, "subject-mismatch"),
        ("a signer by identity", {"signer": "a@x"}, "verified"),
        ("a signer by key", {"signer": "k"}, "verified"),
        ("a key that looks like an identity", {"signer": "a@z"}, "verified"),
        ("a signer by key, and issuer", {"signer": "k", "issuer": "https://y"}, "verified"),
        ("signer and issuer of two", {"signer": "a@x", "issuer": "https://y"}, "signer-mismatch"),
        ("a key without issuer", {"signer": "a@z", "issuer": "https://x"}, "signer-mismatch"),
        ("an issuer with a slash", {"issuer": "https://x/"}, "signer-mismatch"),
        ("a signer in upper case", {"signer": "A@x"}, "signer-mismatch"),
        ("an issuer as signer", {"signer": "https://x"}, "signer-mismatch"),
        ("a control", {"control": "C-2"}, "verified"),
        ("a control in lower case", {"control": "c-2"}, "control-mismatch"),
        ("two controls as one", {"control": "C-1,C-2"}, "control-mismatch"),
        (
            "predicate type with a slash",
            {"predicateType": "https://slsa.dev/provenance/v1/"},
            "predicate-type-mismatch",
        ),
        ("tenant and kind", {"tenant": "x", "kind": "x"}, "tenant-mismatch"),
        ("kind and subject", {"kind": "x", "subject": "x:y"}, "kind-mismatch"),
        (
            "subject and predicate type",
            {"subject": "x:y", "predicateType": "x"},
            "subject-mismatch",
        ),
        (
            "predicate type and control",
            {"predicateType": "x", "control": "x"},
            "predicate-type-mismatch",
        ),
        ("control and signer", {"control": "x", "signer": "x"}, "control-mismatch"),
        ("signer and stream", {"signer": "x", "stream": "00" * 32}, "signer-mismatch"),
        ("a stream with a space", {"stream": " " + "00" * 32}, ":expectation-malformed"),
        ("a stream with a line feed", {"stream": "00" * 32 + "\n"}, ":expectation-malformed"),
        ("a tenant that is a space", {"tenant": " "}, "tenant-mismatch"),
        ("everything", {"requireVerified": True, "admitted": True, "streamKey": "key"}, "verified"),
    ):
        yield case(f"expected: {name}", entry, verdict, expect=expect)
    for result in ("unverified", "failed"):
        plain = receipt(header(verification={"result": result}, signers=signers))
        expect = {"signer": "a@x"}
        yield case(f"expected: a signer, {result}", plain, "signature-unverified", expect=expect)
        yield case(f"signature {result}, nothing expected", plain)
        order = {"signer": "other", "admitted": True}
        yield case(f"expected: much, {result}", plain, "signature-unverified", expect=order)
    recorded = receipt(header(admission={"result": "recorded"}, verification={"result": "failed"}))
    yield case("recorded, and signatures wrong", recorded)
    yield case("expected: admitted, recorded", recorded, "not-admitted", expect={"admitted": True})
    without = receipt(header())
    yield case("expected: a signer of none", without, "signer-mismatch", expect={"signer": "x"})
    yield case("expected: a control of none", without, "control-mismatch", expect={"control": "x"})
    predicate = {"predicateType": "x"}
    yield case(
        "expected: a predicate type of none", without, "predicate-type-mismatch", expect=predicate
    )


def form_cases() -> Iterator[Document]:
    """Yield forms derived from a full receipt, and evidence by reference."""
    full = receipt()
    erased = {name: value for name, value in full.items() if name != "payload"}
    erased |= {"form": "payload-erased"}
    yield case("payload cut out", erased, headerOnly=True)
    yield case("payload cut out, not header only", erased, "payload-erased")
    yield case("payload cut out, and given", erased, "payload-unexpected", payload="payload")
    both = {"payload": "payload", "headerOnly": True}
    yield case("payload cut out, given, header only", erased, "payload-unexpected", **both)
    bare = {name: value for name, value in erased.items() if name != "header"}
    header_hash = hashes.header_hash(SALT, full["header"]["content"].encode())
    bare |= {"form": "header-erased", "headerHash": encode(header_hash)}
    yield case("header cut out", bare, headerOnly=True)
    only = {"headerOnly": True}
    expect = {"stream": "00" * 32}
    yield case("header cut out, another stream", bare, "stream-mismatch", expect=expect, **only)
    expect = {"stream": "00" * 32, "tenant": "acme"}
    yield case("header cut out, tenant and stream", bare, "header-erased", expect=expect, **only)
    yield case("header cut out, evidence given", bare, "header-erased", external="evidence", **only)
    link = full["link"]
    stream = base64.b64decode(link["streamId"])
    link_hash = hashes.link_hash(SALT, stream, link["seq"], base64.b64decode(link["prev"]))
    shared = {name: value for name, value in full.items() if name != "link"}
    shared |= {"form": "shared", "linkHash": encode(link_hash)}
    yield case("shared with its payload", shared)
    yield case("shared, stream expected", shared, "link-hidden", expect={"stream": stream.hex()})
    hidden = shared | {"payload": {"salt": encode(SALT)}}
    yield case("shared without payload", hidden, "payload-missing")
    yield case("shared without payload, given", hidden, payload="payload")
    yield case("shared without payload, header only", hidden, headerOnly=True)
    given = {"payload": "empty", "headerOnly": True}
    yield case("shared without payload, another given", hidden, "payload-mismatch", **given)
    yield case("a link in a shared receipt", shared | {"link": link}, "receipt-malformed")
    embedded = {"salt": encode(SALT), "content": None}
    yield case("content null", hidden | {"payload": embedded}, "receipt-malformed")

    digest = hashes.sha256(EVIDENCE).hex()
    for name, external, verdict in (
        ("in upper case", {"SHA256": digest.upper()}, "verified"),
        ("beside a wrong one in another spelling", {"sha256": "00", "Sha256": digest}, "verified"),
        ("under another algorithm", {"sha512": digest}, "external-mismatch"),
        ("under sha-256", {"sha-256": digest}, "external-mismatch"),
    ):
        reference = receipt(header(external={"digest": external, "size": len(EVIDENCE)}))
        yield case(f"evidence {name}", reference, verdict, external="evidence")
    reference = receipt(header(external={"digest": {"sha256": digest}, "size": len(EVIDENCE)}))
    yield case("evidence not given", reference)
    yield case("evidence not given, header only", reference, headerOnly=True)
    yield case("evidence empty", reference, "external-mismatch", external="empty")
    expect = {"streamKey": "key", "stream": "00" * 32}
    yield case(
        "evidence and stream wrong", reference, "stream-mismatch", external="empty", expect=expect
    )
    size = receipt(header(external={"digest": {"sha256": digest}, "size": 0}))
    yield case("evidence of another size", size, "external-mismatch", external="evidence")
    yield case(
        "evidence of an entry without reference", full, "external-unexpected", external="evidence"
    )


def bad_input_cases() -> Iterator[Document]:
    """Yield inputs that attack the reader rather than the format."""
    good = json.dumps(receipt(), ensure_ascii=False)

    def first(member: str) -> str:
        return good.replace("{", "{" + member + ",", 1)

    for name, data in (
        ("compressed", gzip.compress(good.encode(), mtime=0)),
        ("in UTF-16", good.encode("utf-16")),
        ("with invalid UTF-8", good.encode().replace(b'"full"', b'"full\xff"')),
        ("with an overlong encoding", first('"x":"?"').encode().replace(b"?", b"\xc0\xaf")),
        ("with an encoded surrogate", first('"x":"?"').encode().replace(b"?", b"\xed\xa0\x80")),
        ("of zeros", bytes(1000)),
        ("with __proto__", first('"__proto__":{"form":"detached"}')),
        ("with constructor", first('"constructor":{"prototype":{"form":"shared"}}')),
        ("with __proto__ in its link", good.replace('"link": {', '"link": {"__proto__": {},', 1)),
        ("with a member twice", first('"form":"full"')),
        ("with a member twice, in another spelling", first('"f\\u006frm":"full"')),
        ("with 1e400", good.replace('"time": 5', '"time": 1e400', 1)),
        ("with NaN", good.replace('"time": 5', '"time": NaN', 1)),
        ("with a negative time", good.replace('"time": 5', '"time": -5', 1)),
        ("with a time of 5,000 digits", good.replace('"time": 5', '"time": ' + "5" * 5000, 1)),
        ("nested 100,000 deep", '{"x":' * 100_000),
        ("followed by another", good + good),
    ):
        yield case(f"a receipt {name}", data, "receipt-malformed")
    for name, member in (
        ("__proto__", '"__proto__":{"tenant":"globex"}'),
        ("a member twice", '"tenant":"acme"'),
        ("1e400", '"x":1e400'),
    ):
        content = json.dumps(header()).replace("{", "{" + member + ",", 1)
        yield case(f"a header with {name}", receipt(content), "header-malformed")


def vectors() -> Document:
    """Return the content of the vector file."""
    makers = (
        version_cases,
        proof_cases,
        checkpoint_cases,
        link_cases,
        header_cases,
        expectation_cases,
        form_cases,
        bad_input_cases,
    )
    cases = [made for maker in makers for made in maker()]
    assert len({made["name"] for made in cases}) == len(cases)
    return {
        "policies": POLICIES,
        "streamKeys": STREAM_KEYS,
        "payloads": {name: encode(data) for name, data in PAYLOADS.items()},
        "cases": cases,
    }


def text() -> str:
    """Return the text of the vector file."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
