"""Trust policies: the log's key, its witnesses and the quorum (receipt.md, section 3).

The format is C2SP tlog-policy, with exactly one log. Either all keys are ML-DSA-44 keys, or the log
has an Ed25519 key and the witnesses have Ed25519 cosignature keys.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import charset
from .errors import FormatError, PolicyError
from .note import (
    COSIGNATURE_V1,
    ED25519,
    ML_DSA_44,
    Note,
    Signature,
    VerifierKey,
    parse_verifier_key,
)

MAX_POLICY_SIZE = 1 << 20
"""Size limit of policy files, in bytes."""

_NONE = b"none"
_THRESHOLD = re.compile(rb"[1-9][0-9]{0,8}")
_BAD_OCTET = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_PRIVATE = re.compile(rb"PRIVATE[ +]KEY")


class PolicyRefusal(Exception):  # noqa: N818 - a verdict, not a programming error
    """A policy does not accept a checkpoint. `code` is one of the codes of step 7."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Group:
    """A group: at least `threshold` of its `members` (witnesses or groups) must have signed."""

    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy. Create one with `Policy.parse`.

    - `name`: identifies the policy in reports.
    - `log`: the log's key. Its name is the log's origin.
    - `witnesses`, `groups`: by name. Names are bytes, because the format does not require UTF-8.
      Groups are in order of definition, so members come before their group.
    - `quorum`: the name of a witness or group, or `none`.
    """

    name: str
    log: VerifierKey
    witnesses: Mapping[bytes, VerifierKey]
    groups: Mapping[bytes, Group]
    quorum: bytes

    @staticmethod
    def parse(data: bytes, name: str = "policy") -> "Policy":
        """Parse a policy file of at most 1 MiB.

        `name` identifies the policy in reports. Raises PolicyError, which names the faulty line.
        """
        try:
            return _Parser(name).parse(data)
        except PolicyError:
            if _PRIVATE.search(data):
                raise PolicyError("this is a private key, not a policy") from None
            if (cause := charset.explain(data)) is not None:
                raise PolicyError(cause) from None
            raise

    @property
    def asks_for_witness(self) -> bool:
        """Whether the quorum requires a witness."""
        return self.quorum != _NONE

    @property
    def keys(self) -> tuple[str, ...]:
        """The log's key and those of the witnesses that the quorum depends on.

        Each is `<key name>+<key hash>`. They are sorted by code point.
        """
        return tuple(sorted(str(key) for key in self._keys().values()))

    def check(self, note: Note, origin: str) -> tuple[str, ...]:
        """Check the signatures of a checkpoint (step 7). `origin` is the note's first line.

        Returns the keys of the policy that signed, each `<key name>+<key hash>`, sorted by code
        point. Raises PolicyRefusal.
        """
        if origin != self.log.name:
            raise PolicyRefusal("checkpoint-origin", "the checkpoint is from another log")
        keys = self._keys()
        first: dict[tuple[str, bytes], Signature] = {}
        for line in note.signatures:
            first.setdefault((line.name, line.key_hash), line)
        met: dict[bytes | None, bool] = {}
        for name, key in keys.items():
            found = first.get((key.name, key.key_hash))
            met[name] = found is not None and key.verifies(note.text, found.signature)
            if found is not None and not met[name]:
                reason = f"the signature by {str(key)!a} does not verify"
                raise PolicyRefusal("checkpoint-signature", reason)
        if not met[None]:
            raise PolicyRefusal("checkpoint-unsigned", "the log did not sign the checkpoint")
        signers = sorted(str(key) for name, key in keys.items() if met[name])
        for name, group in self.groups.items():
            met[name] = sum(met.get(member, False) for member in group.members) >= group.threshold
        if self.asks_for_witness and not met[self.quorum]:
            reason = "too few witnesses cosigned the checkpoint"
            raise PolicyRefusal("checkpoint-quorum", reason)
        return tuple(signers)

    def _keys(self) -> Mapping[bytes | None, VerifierKey]:
        """Return the log's key, under None, and those of the witnesses the quorum depends on."""
        reached = {self.quorum}
        for name in reversed(list(self.groups)):
            if name in reached:
                reached.update(self.groups[name].members)
        return {None: self.log} | {n: key for n, key in self.witnesses.items() if n in reached}


class _Parser:
    """Collects the lines of one policy file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._log: VerifierKey | None = None
        self._quorum: bytes | None = None
        self._witnesses: dict[bytes, VerifierKey] = {}
        self._groups: dict[bytes, Group] = {}
        self._members: set[bytes] = set()
        self._public_keys: set[bytes] = set()
        self._key_ids: set[str] = set()
        self._post_quantum: bool | None = None

    def parse(self, data: bytes) -> Policy:
        if len(data) > MAX_POLICY_SIZE:
            raise PolicyError(f"policy exceeds {MAX_POLICY_SIZE} bytes")
        for number, line in enumerate(data.split(b"\n"), 1):
            try:
                self._line(line)
            except (FormatError, PolicyError) as error:
                raise PolicyError(f"line {number}: {error}") from None
        if self._log is None or self._quorum is None:
            raise PolicyError("no log line, or no quorum line")
        return Policy(self._name, self._log, self._witnesses, self._groups, self._quorum)

    def _line(self, line: bytes) -> None:
        if _BAD_OCTET.search(line):
            raise PolicyError("control character")
        keyword, *items = re.split(rb"[ \t]+", line.strip(b" \t"))
        if not keyword or keyword.startswith(b"#"):
            return
        if keyword == b"log" and len(items) in (1, 2):
            self._add_log(items[0])
        elif keyword == b"witness" and len(items) in (2, 3):
            self._add_witness(items[0], items[1])
        elif keyword == b"group" and len(items) >= 3:
            self._add_group(items[0], items[1], items[2:])
        elif keyword == b"quorum" and len(items) == 1:
            self._set_quorum(items[0])
        else:
            raise PolicyError("unknown keyword, or wrong number of items")

    def _add_log(self, vkey: bytes) -> None:
        if self._log is not None:
            raise PolicyError("a second log: use one policy file for each log key")
        self._log = self._key(vkey, (ED25519, ML_DSA_44))

    def _add_witness(self, name: bytes, vkey: bytes) -> None:
        self._new_name(name)
        self._witnesses[name] = self._key(vkey, (COSIGNATURE_V1, ML_DSA_44))

    def _add_group(self, name: bytes, threshold: bytes, members: Sequence[bytes]) -> None:
        self._new_name(name)
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                raise PolicyError("a group member is not defined on an earlier line")
            if member in self._members:
                raise PolicyError("a group member is already in a group")
            self._members.add(member)
        if threshold == b"any":
            count = 1
        elif threshold == b"all":
            count = len(members)
        elif _THRESHOLD.fullmatch(threshold):
            count = int(threshold)
        else:
            raise PolicyError("the threshold must be any, all or a number")
        if count > len(members):
            raise PolicyError("the threshold exceeds the number of members")
        self._groups[name] = Group(count, tuple(members))

    def _set_quorum(self, name: bytes) -> None:
        if self._quorum is not None:
            raise PolicyError("a second quorum")
        if name != _NONE and name not in self._witnesses and name not in self._groups:
            raise PolicyError("the quorum is not defined on an earlier line")
        self._quorum = name

    def _new_name(self, name: bytes) -> None:
        if name == _NONE or name in self._witnesses or name in self._groups:
            raise PolicyError("the name is reserved, or defined on an earlier line")

    def _key(self, vkey: bytes, algorithms: tuple[int, int]) -> VerifierKey:
        try:
            key = parse_verifier_key(vkey.decode("utf-8"))
        except UnicodeDecodeError:
            raise FormatError("the key is not valid UTF-8") from None
        if key.algorithm not in algorithms:
            allowed = " or ".join(f"0x{algorithm:02x}" for algorithm in algorithms)
            raise PolicyError(f"the key's algorithm byte must be {allowed}")
        if key.key in self._public_keys:
            raise PolicyError("an earlier line has the same public key")
        if str(key) in self._key_ids:
            raise PolicyError("an earlier line has a key with the same name and hash")
        if self._post_quantum not in (None, key.algorithm == ML_DSA_44):
            raise PolicyError("ML-DSA-44 keys cannot be mixed with other keys")
        self._post_quantum = key.algorithm == ML_DSA_44
        self._public_keys.add(key.key)
        self._key_ids.add(str(key))
        return key
