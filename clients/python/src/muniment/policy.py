"""Policies: which log to trust and which witnesses to ask for (receipt.md, section 3).

The format is C2SP tlog-policy with exactly one log. The keys are Ed25519 keys (witnesses have
Ed25519 cosignature keys), or all of them are ML-DSA-44 keys.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import FormatError, PolicyError
from .note import COSIGNATURE_V1, ED25519, ML_DSA_44, Note, VerifierKey, parse_verifier_key

_NONE = b"none"
_THRESHOLD = re.compile(rb"[1-9][0-9]{0,8}")
_BAD_OCTET = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")


class PolicyRefusal(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """A policy does not accept a checkpoint; the text says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """At least `threshold` of the `members` (names of witnesses or groups) must have signed."""

    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy. Names are octets as in the file.

    `groups` is in the order of definition: each member of a group is a witness or an earlier
    group. `quorum` names a witness or a group, or is `none`.
    """

    log: VerifierKey
    witnesses: Mapping[bytes, VerifierKey]
    groups: Mapping[bytes, Group]
    quorum: bytes

    @staticmethod
    def parse(data: bytes) -> "Policy":
        """Read a policy file, or raise PolicyError with the number of the faulty line."""
        return _Parser().parse(data)

    @property
    def asks_for_witness(self) -> bool:
        """Whether the policy asks for any cosignature."""
        return self.quorum != _NONE

    def check(self, note: Note, origin: str) -> tuple[str, ...]:
        """Check a checkpoint, given as a note and its first line, against this policy.

        Returns the signers, each `<key name>+<key hash>`, sorted by code point: the log, and those
        witnesses with a good cosignature on which the quorum depends, be it by a group. Raises
        PolicyRefusal if a line by a key of the policy does not verify, the log has not signed, the
        origin is another one, or the quorum is not met.
        """
        if not self._signed(self.log, note):
            raise PolicyRefusal("the log has not signed the checkpoint")
        if origin != self.log.name:
            raise PolicyRefusal("the checkpoint's origin is not the log's key name")
        asked = self._asked()
        met = {
            name: name in asked and self._signed(key, note) for name, key in self.witnesses.items()
        }
        for name, group in self.groups.items():
            met[name] = sum(met[member] for member in group.members) >= group.threshold
        if self.asks_for_witness and not met[self.quorum]:
            raise PolicyRefusal("too few witnesses have cosigned the checkpoint")
        signers = [str(self.witnesses[name]) for name in asked if met[name]]
        return tuple(sorted([str(self.log), *signers]))

    def _asked(self) -> set[bytes]:
        """Return the names of the witnesses on which the quorum depends."""
        reached = {self.quorum}
        for name in reversed(list(self.groups)):
            if name in reached:
                reached.update(self.groups[name].members)
        return reached & self.witnesses.keys()

    @staticmethod
    def _signed(key: VerifierKey, note: Note) -> bool:
        """Say whether `key` has signed; raise PolicyRefusal if its first line does not verify."""
        for line in note.signatures:
            if key.made(line):
                if key.verifies(note.text, line.signature):
                    return True
                raise PolicyRefusal(f"the signature by {str(key)!a} does not verify")
        return False


class _Parser:
    """Collects the lines of one policy file."""

    def __init__(self) -> None:
        self._log: VerifierKey | None = None
        self._quorum: bytes | None = None
        self._witnesses: dict[bytes, VerifierKey] = {}
        self._groups: dict[bytes, Group] = {}
        self._members: set[bytes] = set()

    def parse(self, data: bytes) -> Policy:
        *lines, rest = data.split(b"\n")
        if rest:
            raise PolicyError("policy: the last line is not ended by a newline")
        for number, line in enumerate(lines, 1):
            try:
                self._line(line)
            except ValueError as error:
                raise PolicyError(f"policy, line {number}: {error}") from None
        if self._log is None or self._quorum is None:
            raise PolicyError("policy: a log line and a quorum line are required")
        for witness in self._witnesses.values():
            if (witness.algorithm == ML_DSA_44) != (self._log.algorithm == ML_DSA_44):
                raise PolicyError("policy: ML-DSA-44 keys beside keys of another algorithm")
        return Policy(self._log, self._witnesses, self._groups, self._quorum)

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
            raise PolicyError("unknown keyword, or too few or too many items")

    def _add_log(self, vkey: bytes) -> None:
        if self._log is not None:
            raise PolicyError("more than one log")
        self._log = self._key(vkey, (ED25519, ML_DSA_44))

    def _add_witness(self, name: bytes, vkey: bytes) -> None:
        self._new_name(name)
        key = self._key(vkey, (COSIGNATURE_V1, ML_DSA_44))
        if any(other.key == key.key for other in self._witnesses.values()):
            raise PolicyError("two witnesses with one key")
        self._witnesses[name] = key

    def _add_group(self, name: bytes, threshold: bytes, members: Sequence[bytes]) -> None:
        self._new_name(name)
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                raise PolicyError("group member not defined on an earlier line")
            if member in self._members:
                raise PolicyError("name listed as a group member more than once")
            self._members.add(member)
        if threshold == b"any":
            count = 1
        elif threshold == b"all":
            count = len(members)
        elif _THRESHOLD.fullmatch(threshold):
            count = int(threshold)
        else:
            raise PolicyError("threshold is not all, any or a number")
        if count > len(members):
            raise PolicyError("threshold greater than the number of members")
        self._groups[name] = Group(count, tuple(members))

    def _set_quorum(self, name: bytes) -> None:
        if self._quorum is not None:
            raise PolicyError("more than one quorum")
        if name != _NONE and name not in self._witnesses and name not in self._groups:
            raise PolicyError("quorum not defined on an earlier line")
        self._quorum = name

    def _new_name(self, name: bytes) -> None:
        if name == _NONE or name in self._witnesses or name in self._groups:
            raise PolicyError("name defined before")

    def _key(self, vkey: bytes, algorithms: tuple[int, int]) -> VerifierKey:
        try:
            text = vkey.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("verifier key is not valid UTF-8") from None
        key = parse_verifier_key(text)
        if key.algorithm not in algorithms:
            allowed = " or ".join(f"0x{algorithm:02x}" for algorithm in algorithms)
            raise PolicyError(f"key's algorithm byte is not {allowed}")
        others = [*self._witnesses.values(), *([self._log] if self._log else [])]
        if any((key.name, key.key_hash) == (other.name, other.key_hash) for other in others):
            raise PolicyError("two keys with the same name and key hash")
        return key
