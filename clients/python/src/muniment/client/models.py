"""What calls take and return, as pydantic models of docs/api.md's JSON.

Fields that a newer server adds are ignored. Times are in UTC, with microseconds.
"""

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr
from pydantic.alias_generators import to_camel

from ..encoding import decode_base64
from ..errors import FormatError


def _decode(value: Any) -> Any:  # noqa: ANN401 - pydantic validates the result
    if not isinstance(value, str):
        return value
    try:
        return decode_base64(value)
    except FormatError as error:
        raise ValueError(error.message) from None


def _write_time(value: datetime) -> str:
    zoned = value if value.tzinfo else value.astimezone()
    return zoned.astimezone(UTC).isoformat().replace("+00:00", "Z")


Base64 = Annotated[
    bytes,
    BeforeValidator(_decode),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), when_used="json"),
]
"""Bytes, which are base64 in JSON."""

Index = Annotated[int, Field(ge=0, lt=1 << 64), PlainSerializer(str, when_used="json")]
"""A number below 2^64, which is a string in JSON."""

Time = Annotated[datetime, PlainSerializer(_write_time, when_used="json")]
"""A time. A naive one is local time."""


class Message(BaseModel):
    """The base of all models. They are immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    def to_request(self) -> dict[str, Any]:
        """Return the JSON object of a request, without members that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Submission(Message):
    """Evidence or an event to be recorded.

    - `kind`: one of docs/spec/kinds.md, such as `attestation`.
    - `payload`: the bytes, which are stored as they are.
    - `media_type`: may be omitted for typed kinds and for formats that the server recognizes.
    - `idempotency_key`: required for kinds that record events, so that a retry is recorded once.
      Not allowed for evidence, which is deduplicated by its content.
    """

    kind: str
    payload: Base64 = Field(repr=False)
    media_type: str | None = None
    idempotency_key: str | None = None


class Appended(Message):
    """A recorded entry.

    - `index`: its index in the log, from 0.
    - `duplicate`: it was recorded before; index and receipt are those of the first entry.
    - `receipt`: a detached receipt, which does not contain the payload: a file for
      `verify_receipt`.
    """

    index: Index = 0
    duplicate: bool = False
    receipt: Base64 = Field(default=b"", repr=False)


class Subject(Message):
    """An artifact that a payload describes: its `name`, and `digest`, from algorithms to values."""

    name: str = ""
    digest: dict[str, str] = {}


class Signer(Message):
    """A signer of a payload: a claim of the payload unless the log verified it.

    It has an `identity` of an OIDC `issuer`, or a `key_id`.
    """

    identity: str = ""
    issuer: str = ""
    key_id: str = ""


class Admission(Message):
    """A decision of the admission policy.

    - `result`: `admitted`, or `recorded` if no rule admits the entry.
    - `rule`, `reason`: the deciding rule, empty if none applied, and why.
    """

    result: str = ""
    rule: str = ""
    reason: str = ""


class External(Message):
    """A reference to evidence stored elsewhere.

    `digest` maps algorithms to values, `size` is in bytes, and `location` is a URI. `media_type` is
    that of the evidence.
    """

    digest: dict[str, str] = {}
    size: Index = 0
    location: str = ""
    media_type: str = ""


class Entry(Message):
    """An entry of the log.

    All fields except `index`, `seq`, `leaf_hash` and `header` repeat contents of the header, which
    are claims of the log. A receipt proves them. If the header was erased, they are empty.

    - `index`, `seq`: position in the log and in the tenant's stream, from 0.
    - `leaf_hash`, `header`: the leaf's hash, and the header's bytes.
    - `time`: when the log recorded the entry.
    - `kind`, `media_type`, `predicate_type`: of the payload.
    - `subjects`, `materials`: the artifacts, and those that they were made from or contain.
    - `signers`, `submitter`: who signed the payload, and who submitted it.
    - `verification`: `verified`, `unverified` or `failed`, with `verification_reason`, and the
      format of the signatures, `verification_format`.
    - `trusted_root`: digest of the root that the signatures were verified with.
    - `admission`, `admission_policy`: the decision of the policy, and the policy's digest.
    - `external`: set if the payload is a reference to evidence stored elsewhere.
    - `controls`, `attributes`: the controls that it is about, and searchable values.
    - `idempotency_key`: of an event.
    - `payload_size`, `payload_erased`: in bytes; whether it was erased (`get_entry` only).
    """

    index: Index = 0
    seq: Index = 0
    time: Time | None = None
    leaf_hash: Base64 = Field(default=b"", repr=False)
    header: Base64 = Field(default=b"", repr=False)
    kind: str = ""
    media_type: str = ""
    subjects: tuple[Subject, ...] = ()
    materials: tuple[Subject, ...] = ()
    predicate_type: str = ""
    signers: tuple[Signer, ...] = ()
    submitter: str = ""
    idempotency_key: str = ""
    admission_policy: str = ""
    admission: Admission | None = None
    verification: str = ""
    verification_reason: str = ""
    verification_format: str = ""
    trusted_root: str = ""
    external: External | None = None
    controls: tuple[str, ...] = ()
    attributes: dict[str, str] = {}
    payload_size: Index = 0
    payload_erased: bool = False


class EntryWithPayload(Message):
    """An `entry`, and its `payload` if that was requested and is not erased."""

    entry: Entry
    payload: Base64 | None = Field(default=None, repr=False)


class EntryFilter(Message):
    """Selects entries that match all fields that are set.

    - `kind`, `predicate_type`, `submitter`, `control`: exactly this value.
    - `subject`, `material`: a digest, as `algorithm:value`.
    - `signer`: an identity or a key ID.
    - `from_`, `to`: the earliest time, inclusive, and the latest, exclusive.
    - `attribute`: as `name=value`.
    """

    kind: str | None = None
    subject: str | None = None
    material: str | None = None
    predicate_type: str | None = None
    signer: str | None = None
    submitter: str | None = None
    control: str | None = None
    attribute: str | None = None
    from_: Time | None = Field(default=None, alias="from")
    to: Time | None = None


class EntryPage(Message):
    """A page of `entries`, read at a tree of `tree_size` entries.

    `next_page_token` is empty on the last page.
    """

    entries: tuple[Entry, ...] = ()
    next_page_token: str = ""
    tree_size: Index = 0


class Watched(Message):
    """A message of a watch. All entries before `next_index` were sent.

    `entry` is None if the message only reports progress.
    """

    entry: Entry | None = None
    next_index: Index = 0


class Checkpoint(Message):
    """A checkpoint of the log: a signed note. Verify it before you rely on it.

    - `checkpoint`: the note. `tree_size` and `root` repeat its content.
    - `replica`: the server is a replica.
    - `age`: the time since it last knew the log to have no other entries, such as `0s`.
    """

    checkpoint: Base64 = b""
    tree_size: Index = 0
    root: Base64 = b""
    age: str = ""
    replica: bool = False


class StreamHead(Message):
    """The end of the tenant's stream at a checkpoint.

    - `stream_id`: the ID of the stream.
    - `entries`: the number of its entries.
    - `last_index`, `last_leaf_hash`: of the last entry. None and empty if there is none.
    - `checkpoint`: the signed note.
    """

    stream_id: Base64 = b""
    entries: Index = 0
    last_index: Index | None = None
    last_leaf_hash: Base64 = b""
    checkpoint: Base64 = b""


class Caller(Message):
    """Whom the server takes the caller for.

    - `tenant`, `identity`, `role`: `identity` is the submitter that entries will name.
    - `kinds`: the only kinds that can be appended. Empty: those of the role.
    - `expires`: when the credentials expire. None: never.
    - `replica`: the server is a replica, which records nothing.
    """

    tenant: str = ""
    identity: str = ""
    role: str = "ROLE_UNSPECIFIED"
    kinds: tuple[str, ...] = ()
    expires: Time | None = None
    replica: bool = False


class GatePart(Message):
    """The manifest of a platform of an image, or the archive of a chart.

    `digest` maps algorithms to values. `platform` is such as `linux/arm64`.
    """

    digest: dict[str, str]
    platform: str | None = None


class GateSubject(Message):
    """An `artifact` of a `type` that a gate decides about.

    Evidence about it counts for each of its `parts`.
    """

    type: Literal["image", "chart", "delta", "export-manifest", "file"]
    artifact: Subject
    parts: tuple[GatePart, ...] = ()

    @classmethod
    def of(cls, kind: str, digest: str, name: str = "") -> "GateSubject":
        """Return the subject with a digest `algorithm:value`, of a type such as `image`."""
        algorithm, _, value = digest.partition(":")
        return cls.model_validate(
            {"type": kind, "artifact": {"name": name, "digest": {algorithm: value}}}
        )


class ControlResult(Message):
    """The result of one `control`.

    - `mode`: `enforce`, `warn` or `audit`.
    - `result`: `satisfied`, `not-satisfied`, `excepted`, `undecided` or `not-applicable`.
    - `reason`, `missing`: why, and what would be needed.
    - `entries`: indexes of the entries that support the result.
    - `exceptions`: IDs of the exceptions that were used.
    """

    control: str = ""
    mode: str = ""
    result: str = ""
    reason: str = ""
    missing: tuple[str, ...] = ()
    entries: tuple[Index, ...] = ()
    exceptions: tuple[str, ...] = ()


class GateDecision(Message):
    """A decision, as it is recorded.

    - `decision`: `pass`, `blocked` or `undecided`.
    - `stage`, `environment`, `subjects`, `type`: what it is about. `type` is that of the subjects.
    - `decided`, `tree_size`: the time and the size of the log that it was made for.
    - `control_set`: the digest of the control set. Empty if none is in force.
    - `results`, `reason`: one for each control, and the code of a decision without results.
    - `inputs`: digest of what the decision depends on besides the time.
    - `valid_until`: the earliest time at which it may change without a new entry.
    - `offline`: made without the ledger, and appended later.
    """

    stage: str = ""
    environment: str = ""
    decision: str = ""
    subjects: tuple[Subject, ...] = ()
    decided: Time | None = None
    tree_size: Index = 0
    control_set: str = ""
    results: tuple[ControlResult, ...] = ()
    reason: str = ""
    inputs: str = ""
    valid_until: Time | None = None
    offline: bool = False
    type: str = ""


class SubjectDecision(Message):
    """The `decision` about one subject.

    - `index`: the entry that records it, or that it repeats. None: it is not recorded.
    - `repeated`: it repeats a decision that is still valid.
    - `spooled`: the digest of its file in the spool of a replica.
    """

    decision: GateDecision = GateDecision()
    index: Index | None = None
    repeated: bool = False
    spooled: str = ""


class GateResult(Message):
    """The `decisions` of a gate, one for each subject, in the order of the call.

    They were made for `tree_size` entries of the log, which were all that it had at `as_of`.
    """

    decisions: tuple[SubjectDecision, ...] = ()
    tree_size: Index = 0
    as_of: Time | None = None

    @property
    def passed(self) -> bool:
        """Whether every decision is `pass`. Without decisions, nothing passes."""
        decisions = [one.decision.decision for one in self.decisions]
        return bool(decisions) and all(decision == "pass" for decision in decisions)


class ExchangedToken(Message):
    """A token of the ledger, got for an identity token."""

    token: SecretStr
    expires: Time
