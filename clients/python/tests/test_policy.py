"""Policies, signatures and cosignatures, with generated keys."""

import base64
import hashlib
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment import FormatError, Policy, PolicyError
from muniment.note import parse_verifier_key
from muniment.policy import PolicyRefusal
from muniment.proof import parse_checkpoint
from vectors import policy_text

ORIGIN = "log.example"
ROOT = base64.b64encode(bytes(32)).decode()
TEXT = f"{ORIGIN}\n7\n{ROOT}\n"


@dataclass(frozen=True)
class Signer:
    """A test key, derived from its name."""

    name: str
    algorithm: int

    @property
    def private(self) -> Ed25519PrivateKey:
        """The private key."""
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.name.encode()).digest())

    @property
    def vkey(self) -> str:
        """The verifier key."""
        data = bytes([self.algorithm]) + self.private.public_key().public_bytes_raw()
        key_hash = hashlib.sha256(self.name.encode() + b"\n" + data).hexdigest()[:8]
        return f"{self.name}+{key_hash}+{base64.b64encode(data).decode()}"

    @property
    def key_id(self) -> str:
        """The key as `<key name>+<key hash>`."""
        return "+".join(self.vkey.split("+", 2)[:2])

    def line(self, text: str = TEXT, time: int = 1760000000) -> str:
        """Sign a checkpoint and return the signature line."""
        if self.algorithm == 1:
            return self.raw_line(self.private.sign(text.encode()))
        message = f"cosignature/v1\ntime {time}\n{text}".encode()
        return self.raw_line(time.to_bytes(8, "big") + self.private.sign(message))

    def raw_line(self, signature: bytes) -> str:
        """Return a signature line with the given signature, valid or not."""
        key_hash = bytes.fromhex(self.key_id[-8:])
        encoded = base64.b64encode(key_hash + signature).decode()
        return f"\N{EM DASH} {self.name} {encoded}\n"


LOG = Signer(ORIGIN, 1)
W = [Signer(f"w{number}.example", 4) for number in range(6)]
WITNESSES = "".join(f"witness W{number} {signer.vkey}\n" for number, signer in enumerate(W))


def signers(policy: str, *lines: str) -> tuple[str, ...]:
    """Return the signers of a checkpoint with these signature lines, or raise PolicyRefusal."""
    checkpoint = parse_checkpoint(TEXT + "\n" + "".join(lines))
    return Policy.parse(policy.encode()).check(checkpoint.note, checkpoint.origin)


def met(quorum: str, *signed: int) -> bool:
    """Report whether cosignatures of the witnesses with these numbers meet the quorum."""
    try:
        found = signers(
            f"log {LOG.vkey}\n{WITNESSES}{quorum}",
            LOG.line(),
            *(W[number].line() for number in signed),
        )
    except PolicyRefusal:
        return False
    assert LOG.key_id in found
    return True


def test_threshold_groups() -> None:
    assert met("quorum none\n")
    assert met("quorum W1\n", 1)
    assert not met("quorum W1\n", 0, 2)
    anyone = "group g any W0 W1 W2\nquorum g\n"
    everyone = "group g all W0 W1 W2\nquorum g\n"
    two = "group g 2 W0 W1 W2\nquorum g\n"
    for signed in ((), (0,), (1, 2), (0, 1, 2), (3, 4, 5)):
        count = len({0, 1, 2} & set(signed))
        assert met(anyone, *signed) == (count >= 1)
        assert met(two, *signed) == (count >= 2)
        assert met(everyone, *signed) == (count == 3)


def test_nested_groups() -> None:
    quorum = (
        "group x 2 W0 W1 W2\ngroup y any W3 W4\ngroup xy all x y\ngroup top any xy W5\nquorum top\n"
    )
    assert met(quorum, 0, 2, 3)
    assert met(quorum, 5)
    assert not met(quorum, 0, 1, 2)
    assert not met(quorum, 0, 3, 4)
    assert not met(quorum)


def test_many_nested_groups() -> None:
    chain = "".join(f"group g{n} all {'W0' if n == 0 else f'g{n - 1}'}\n" for n in range(5000))
    assert met(chain + "quorum g4999\n", 0)
    assert not met(chain + "quorum g4999\n", 1)


def test_signers() -> None:
    policy = f"log {LOG.vkey}\n{WITNESSES}group g any W0 W1\ngroup unused any W2\nquorum g\n"
    lines = [W[2].line(), W[1].line(), W[0].line(), LOG.line()]
    assert signers(policy, *lines) == (LOG.key_id, W[0].key_id, W[1].key_id)
    # Dropping a cosignature beyond the quorum changes only the list of signers.
    assert signers(policy, *lines[:2], LOG.line()) == (LOG.key_id, W[1].key_id)


def test_lines_that_count() -> None:
    policy = f"log {LOG.vkey}\n{WITNESSES}quorum W0\n"
    good, bad = W[0].line(), W[0].raw_line(bytes(72))
    assert signers(policy, LOG.line(), good, bad)  # only the first line of a key counts
    # The quorum does not depend on W1, so its line is ignored, as for an
    # unknown key.
    assert signers(policy, LOG.line(), good, W[1].raw_line(bytes(72))) == (LOG.key_id, W[0].key_id)
    for lines in (
        [good],  # not signed by the log
        [LOG.line(), bad, good],
        [LOG.line(), W[0].raw_line(bytes(1))],
        [LOG.raw_line(bytes(65)), good],
        [LOG.line(), W[0].line(time=2**63)],
        [LOG.line(), W[0].raw_line(W[0].private.sign(TEXT.encode()))],
        [LOG.line(TEXT.replace("7", "8")), good],
    ):
        with pytest.raises(PolicyRefusal):
            signers(policy, *lines)


def test_origin_is_the_key_name() -> None:
    other = Signer("other.example", 1)
    with pytest.raises(PolicyRefusal, match="another log"):
        signers(f"log {other.vkey}\nquorum none\n", other.line())


def test_times_in_the_far_future_are_valid() -> None:
    assert signers(f"log {LOG.vkey}\n{WITNESSES}quorum W0\n", LOG.line(), W[0].line(time=2**63 - 1))


def test_signature_lines_are_limited() -> None:
    unknown = "\N{EM DASH} unknown.example AAAAAAA=\n"
    policy = f"log {LOG.vkey}\nquorum none\n"
    assert signers(policy, unknown * 99, LOG.line()) == (LOG.key_id,)
    with pytest.raises(FormatError):
        signers(policy, unknown * 100, LOG.line())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "- a AAAAAAA=\n",
        "\N{EM DASH} a AAAAAA==\n",  # no signature
        "\N{EM DASH} a AAAAAAB=\n",  # stray bits
        "\N{EM DASH} a+b AAAAAAA=\n",
        "\N{EM DASH} a\N{NO-BREAK SPACE}b AAAAAAA=\n",
        "\N{EM DASH} a\tb AAAAAAA=\n",
        "\N{EM DASH}  AAAAAAA=\n",
        "\N{EM DASH} a AAAAAAA= \n",
        "\N{EM DASH} a AAAAAAA=",
        "\N{EM DASH} a AAAAAAA=\n\n",
        "\N{EM DASH} a AAAAAAA=\r\n",
    ],
)
def test_malformed_lines(line: str) -> None:
    with pytest.raises(FormatError):
        parse_checkpoint(TEXT + "\n" + line)


@pytest.mark.parametrize(
    "text",
    [
        f"\n7\n{ROOT}\n",
        f"{ORIGIN}\n07\n{ROOT}\n",
        f"{ORIGIN}\n9007199254740992\n{ROOT}\n",
        f"{ORIGIN}\n\N{ARABIC-INDIC DIGIT SEVEN}\n{ROOT}\n",
        f"{ORIGIN}\n7\n{ROOT[:-4]}\n",
        f"{ORIGIN}\n7\n{ROOT}\nextension\n",
        f"{ORIGIN}\n7\n{ROOT}\n\n",
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\x1b\n7\n{ROOT}\n",
    ],
)
def test_malformed_checkpoints(text: str) -> None:
    line = LOG.line()
    assert parse_checkpoint(TEXT + "\n" + line).size == 7
    with pytest.raises(FormatError):
        parse_checkpoint(text + "\n" + line)


LOG_LINE = f"log {LOG.vkey}\n"
MIXED = f"log {Signer(ORIGIN, 4).vkey}\n"


@pytest.mark.parametrize(
    "policy",
    [
        "",
        LOG_LINE,
        "quorum none\n",
        LOG_LINE + LOG_LINE + "quorum none\n",
        LOG_LINE + "quorum none\nquorum none\n",
        LOG_LINE + "quorum none\r\n",
        LOG_LINE + "quorum undefined\n",
        LOG_LINE + "quorum W0\n" + WITNESSES,
        LOG_LINE + "quorum none # comment\n",
        LOG_LINE + "Quorum none\n",
        LOG_LINE + "quorum\u00a0none\n",
        MIXED + "quorum none\n",
        LOG_LINE + f"witness w {Signer('w.example', 1).vkey}\nquorum none\n",
        LOG_LINE + f"witness none {W[0].vkey}\nquorum none\n",
        LOG_LINE + f"witness a {W[0].vkey}\nwitness a {W[1].vkey}\nquorum none\n",
        LOG_LINE + f"witness a {W[0].vkey}\nwitness b {W[0].vkey}\nquorum none\n",
        LOG_LINE + WITNESSES + "group W0 any W1\nquorum none\n",
        LOG_LINE + WITNESSES + "group g any\nquorum none\n",
        LOG_LINE + WITNESSES + "group g 0 W0\nquorum none\n",
        LOG_LINE + WITNESSES + "group g 01 W0\nquorum none\n",
        LOG_LINE + WITNESSES + "group g -1 W0\nquorum none\n",
        LOG_LINE + WITNESSES + "group g 2 W0\nquorum none\n",
        LOG_LINE + WITNESSES + "group g some W0\nquorum none\n",
        LOG_LINE + WITNESSES + "group g any none\nquorum none\n",
        LOG_LINE + WITNESSES + "group g any g\nquorum none\n",
        LOG_LINE + WITNESSES + "group g any W0 W0\nquorum none\n",
        LOG_LINE + WITNESSES + "group g any W0\ngroup h any W0\nquorum none\n",
        LOG_LINE + "log\nquorum none\n",
        LOG_LINE.replace("log.example", "lag.example") + "quorum none\n",
    ],
)
def test_unusable_policies(policy: str) -> None:
    with pytest.raises(PolicyError):
        Policy.parse(policy.encode())


def test_policy_layout() -> None:
    text = f"\n \t\n# comment\n\t# comment\n \tlog\t {LOG.vkey} \thttps://log.example/\t\n"
    assert not Policy.parse((text + "quorum none\n").encode()).asks_for_witness
    raw = f"log {LOG.vkey}\nwitness X {W[0].vkey}\nquorum X\n".encode().replace(b" X", b" \xff")
    assert Policy.parse(raw).quorum == b"\xff"


def test_arbitrary_bytes_in_a_policy() -> None:
    text = policy_text("one-of")
    for position in range(len(text)):
        for byte in (0, 9, 10, 13, 32, 43, 48, 255):
            changed = text[:position] + bytes([byte]) + text[position + 1 :]
            try:
                Policy.parse(changed)
            except PolicyError:
                continue


def test_verifier_key_of_the_note_specification() -> None:
    # The example of C2SP signed-note.
    key = parse_verifier_key(
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    )
    signature = base64.b64decode(
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    )
    assert signature[:4] == key.key_hash
    assert key.verifies(b"This is an example message.\n", signature[4:])
    assert not key.verifies(b"This is an example message!\n", signature[4:])


@pytest.mark.parametrize(
    "text",
    [
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2",
        "example.com/foo+530d903a+",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo",
    ],
)
def test_malformed_verifier_keys(text: str) -> None:
    with pytest.raises(FormatError):
        parse_verifier_key(text)


def test_many_keys() -> None:
    # The largest policy stays fast: keys are looked up, not compared with all
    # others.
    def witness(number: int) -> str:
        key = b"\4" + number.to_bytes(32, "big")
        key_hash = hashlib.sha256(b"w\n" + key).hexdigest()[:8]
        return f"witness {number} w+{key_hash}+{base64.b64encode(key).decode()}\n"

    text = f"log {LOG.vkey}\nquorum none\n" + "".join(map(witness, range(14_000)))
    assert len(Policy.parse(text.encode()).witnesses) == 14_000
    with pytest.raises(PolicyError, match="same public key"):
        Policy.parse((text + witness(13_999).replace(" 13999 ", " again ")).encode())
