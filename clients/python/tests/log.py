"""A log with one entry, to generate receipts that are not in the vectors."""

import base64
import json
from typing import Any

from muniment import Policy, hashes
from test_policy import LOG, ORIGIN

POLICY = Policy.parse(f"log {LOG.vkey}\nquorum none\n".encode())
SALT = bytes(range(32))
STREAM_KEY = bytes(32)


def encode(data: bytes) -> str:
    """Return the base64 of `data`."""
    return base64.b64encode(data).decode()


def make_header(evidence: bytes = b"", **changes: object) -> str:
    """Return a header whose members are overridden by `changes`."""
    header: dict[str, object] = {
        "origin": ORIGIN,
        "tenant": "acme",
        "kind": "attestation",
        "mediaType": "text/plain",
        "submitter": "me",
        "verification": {"result": "unverified"},
        "payload": {
            "commitment": encode(hashes.payload_commitment(SALT, evidence)),
            "size": len(evidence),
        },
    }
    return json.dumps(header | changes)


def make(
    evidence: bytes = b"",
    /,
    content: str | None = None,
    tag: bytes | None = None,
    time: int = 5,
    **changes: object,
) -> bytes:
    """Return a full receipt of the log's only entry. `changes` override members of its header."""
    content = make_header(evidence, **changes) if content is None else content
    tag = hashes.tag(STREAM_KEY, 0) if tag is None else tag
    stream = hashes.stream_id(STREAM_KEY)
    link = hashes.link_hash(SALT, stream, 0, bytes(32))
    header_hash = hashes.header_hash(SALT, content.encode())
    entry = hashes.entry_hash(hashes.origin_hash(ORIGIN), link, time, header_hash)
    text = f"{ORIGIN}\n1\n{encode(hashes.leaf_hash(hashes.leaf_data(tag, entry)))}\n"
    receipt: dict[str, Any] = {
        "mediaType": "application/vnd.muniment.receipt.v2+json",
        "form": "full",
        "tag": encode(tag),
        "time": time,
        "link": {
            "salt": encode(SALT),
            "streamId": encode(stream),
            "seq": 0,
            "prev": encode(bytes(32)),
        },
        "header": {"salt": encode(SALT), "content": content},
        "payload": {"salt": encode(SALT), "content": encode(evidence)},
        "proof": f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}\n{LOG.line(text)}",
    }
    return json.dumps(receipt).encode()
