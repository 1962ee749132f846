"""The configuration of verifications (docs/spec/verify.md, sections 1 and 2).

    configuration = Configuration.load("muniment.json")

Everything that the file names is read when it is loaded.
"""

import json
import os
import stat
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from .errors import CallerError, FormatError, PolicyError
from .export import ExportError, PublicKey, Requirements, parse_requirements
from .policy import MAX_POLICY_SIZE, Policy
from .printable import printable, unicode_name
from .sigstore import Identity, SigstoreError
from .sigstore.trustedroot import MAX_SIZE as MAX_ROOT_SIZE
from .sigstore.trustedroot import parse_trusted_root
from .sigstore.urls import normal_form
from .streamkey import MAX_STREAM_KEY_SIZE, parse_stream_key
from .strictjson import Object, parse_object, quote

MAX_CONFIGURATION_SIZE = 1 << 20
"""Size limit of a configuration, in bytes."""

MAX_KEY_SIZE = 1 << 16
"""Size limit of the file of a public key, in bytes."""

CONFIGURATION_CODES = (
    "configuration-unreadable",
    "configuration-malformed",
    "configuration-unknown",
    "configuration-invalid",
    "identity-missing",
    "requirement-malformed",
    "key-malformed",
    "trusted-root-malformed",
    "policy-malformed",
    "stream-key-malformed",
    "rekor-unknown",
)
"""The codes of a configuration that cannot be loaded, in the order of the specification."""

Reader = Callable[[str, int], bytes]
"""Returns at most so many bytes from the start of the file at a path, or raises OSError."""

_REQUIREMENTS = frozenset({"licenses", "residency", "epsilon"})
_SCHEMAS = ("function-", "constrained-", "list[")  # of pydantic, in the places of errors
_MAX_TEXT = 2048
_MAX_PATH = 4096


class ConfigurationError(CallerError):
    """A configuration cannot be loaded. `code` is one of CONFIGURATION_CODES, `step` is 0.

    Nothing was verified, so there is no report. The message never quotes a policy or a key.
    """

    @property
    def step(self) -> int:
        """The number of the step, which is always 0."""
        return 0


def _bounded(least: int, most: int) -> AfterValidator:
    def check(text: str) -> str:
        if not least <= len(text.encode("utf-8")) <= most:
            raise ValueError(f"must have {least} to {most} bytes")
        return text

    return AfterValidator(check)


def _check_path(path: str) -> str:
    if "\0" in path:
        raise ValueError("must not contain 0x00")
    return path


def _check_url(url: str) -> str:
    if normal_form(url) is None:
        raise ValueError("must be an http or https URL without user, query and fragment")
    return url


FilePath = Annotated[str, _bounded(1, _MAX_PATH), AfterValidator(_check_path)]
"""A path, relative to the folder of the configuration."""


class _Model(BaseModel):
    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )


class SigstoreSettings(_Model):
    """The member `sigstore`: entries of the log with the URL `rekor_url` only are accepted."""

    rekor_url: Annotated[str, AfterValidator(_check_url)]


class IdentitySettings(_Model):
    """An element of `identities`: `issuer` (OIDC) and `subject` (name) of a certificate."""

    issuer: Annotated[str, _bounded(0, _MAX_TEXT)] = ""
    subject: Annotated[str, _bounded(0, _MAX_TEXT)] = ""


class Settings(_Model):
    """The members of a configuration other than the requirements, as they are in the file.

    `sigstore`, `trusted_keys`, `identities`, `trusted_root`, `trust_policy` and `stream_key`, which
    are None or empty if they are absent.
    """

    sigstore: SigstoreSettings = Field(default=None)  # type: ignore[assignment]
    trusted_keys: Annotated[list[FilePath], Field(min_length=1, max_length=64)] = []
    identities: Annotated[list[IdentitySettings], Field(min_length=1, max_length=64)] = []
    trusted_root: FilePath | Annotated[list[FilePath], Field(min_length=1, max_length=16)] = []
    trust_policy: FilePath | Annotated[list[FilePath], Field(min_length=1, max_length=16)] = []
    stream_key: FilePath = ""

    @property
    def trusted_roots(self) -> list[str]:
        """The paths of the trusted roots."""
        return [self.trusted_root] if isinstance(self.trusted_root, str) else self.trusted_root

    @property
    def trust_policies(self) -> list[str]:
        """The paths of the trust policies."""
        return [self.trust_policy] if isinstance(self.trust_policy, str) else self.trust_policy


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key: its `path` in the configuration, its `pem` text, and the `key`."""

    path: str
    pem: bytes
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A loaded configuration.

    - `trusted_keys`, `identities`: whose signatures are accepted.
    - `trusted_roots`: documents of Sigstore trusted roots, without the transparency logs that
      `rekorUrl` does not select. By default the public-good instance.
    - `policies`: the trust policies, named by their paths.
    - `stream_key`: 32 bytes, or None. It is secret.
    - `requirements`: of licences, places and the privacy budget.
    """

    trusted_keys: tuple[TrustedKey, ...] = ()
    identities: tuple[Identity, ...] = ()
    trusted_roots: tuple[bytes, ...] = field(default=(), repr=False)
    policies: tuple[Policy, ...] = ()
    stream_key: bytes | None = field(default=None, repr=False)
    requirements: Requirements = field(default_factory=Requirements)

    @staticmethod
    def load(path: str | Path) -> "Configuration":
        """Load a configuration from a file. Raises ConfigurationError."""
        file = Path(path)
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_CONFIGURATION_SIZE + 1)
        except (OSError, ValueError) as error:
            raise _unreadable(str(path), error) from None
        return Configuration.parse(data, folder=file.parent)

    @staticmethod
    def parse(
        data: bytes, *, folder: str | Path = ".", read: Reader | None = None
    ) -> "Configuration":
        """Load a configuration from its bytes. Raises ConfigurationError.

        Paths are relative to `folder`. With `read`, that function reads the files instead.
        """
        base = Path(folder)
        return _load(data, read or (lambda path, limit: _read_file(base / path, limit)))


def _load(data: bytes, read: Reader) -> Configuration:
    members = _parse(data)
    _check_names(members)
    settings = _validate({k: v for k, v in members.items() if k not in _REQUIREMENTS})
    if not all(identity.issuer and identity.subject for identity in settings.identities):
        reason = "identities: an identity needs an issuer and a subject: else anybody's is accepted"
        raise ConfigurationError("identity-missing", reason)
    try:
        requirements = parse_requirements({k: v for k, v in members.items() if k in _REQUIREMENTS})
    except ExportError as error:
        raise ConfigurationError("requirement-malformed", error.message) from None
    keys = tuple(_read_key(path, read) for path in settings.trusted_keys)
    roots = tuple(_read_root(path, read) for path in settings.trusted_roots) or (public_good(),)
    policies = tuple(_read_policy(path, read) for path in settings.trust_policies)
    stream_key = _read_stream_key(settings.stream_key, read) if settings.stream_key else None
    return Configuration(
        trusted_keys=keys,
        identities=tuple(Identity(one.subject, one.issuer) for one in settings.identities),
        trusted_roots=select_log(roots, settings.sigstore.rekor_url)
        if settings.sigstore
        else roots,
        policies=policies,
        stream_key=stream_key,
        requirements=requirements,
    )


def _parse(data: bytes) -> Object:
    if len(data) > MAX_CONFIGURATION_SIZE:
        reason = f"the configuration has more than {MAX_CONFIGURATION_SIZE} bytes"
        raise ConfigurationError("configuration-malformed", reason)
    try:
        return parse_object(data)
    except FormatError as error:
        raise ConfigurationError("configuration-malformed", error.message) from None


def _names(model: type[BaseModel]) -> Set[str]:
    return {name.alias or "" for name in model.model_fields.values()}


def _check_names(members: Object) -> None:
    """Perform check 3."""
    _check_known("", members, _names(Settings) | _REQUIREMENTS)
    _check_known("sigstore: ", members.get("sigstore"), _names(SigstoreSettings))
    identities = members.get("identities")
    for identity in identities if isinstance(identities, list) else []:
        _check_known("identities: ", identity, _names(IdentitySettings))


def _check_known(where: str, value: object, known: Set[str]) -> None:
    for name in value if isinstance(value, dict) else {}:
        if name not in known:
            reason = f"{where}unknown member {quote(name)}: use one of {', '.join(sorted(known))}"
            raise ConfigurationError("configuration-unknown", reason)


def _validate(members: Object) -> Settings:
    """Perform check 4."""
    try:
        return Settings.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(p) for p in first["loc"] if not str(p).startswith(_SCHEMAS))
        reason = printable(f"{where}: {first['msg']}")
        raise ConfigurationError("configuration-invalid", reason) from None


def _read(path: str, read: Reader, limit: int) -> bytes:
    """Perform check 7.1. Return at most `limit` + 1 bytes."""
    try:
        return read(path, limit + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> ConfigurationError:
    reason = getattr(error, "strerror", None) or "read failed"
    return ConfigurationError("configuration-unreadable", f"{printable(path)}: {reason}")


def _read_file(path: Path, limit: int) -> bytes:
    """Return at most `limit` bytes of a regular file. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(opened, "rb") as file:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(0, "not a regular file")
        return file.read(limit)


def _read_key(path: str, read: Reader) -> TrustedKey:
    pem = _read(path, read, MAX_KEY_SIZE)
    try:
        if len(pem) > MAX_KEY_SIZE:
            raise FormatError(f"more than {MAX_KEY_SIZE} bytes")
        return TrustedKey(path, pem, PublicKey.parse(pem))
    except (FormatError, SigstoreError) as error:
        reason = f"trustedKeys: {printable(path)}: {error.message}"
        raise ConfigurationError("key-malformed", reason) from None


def _read_root(path: str, read: Reader) -> bytes:
    data = _read(path, read, MAX_ROOT_SIZE)
    try:
        parse_trusted_root(data)
    except FormatError as error:
        reason = f"trustedRoot: {printable(path)}: {error.message}"
        raise ConfigurationError("trusted-root-malformed", reason) from None
    return data


def _read_policy(path: str, read: Reader) -> Policy:
    data = _read(path, read, MAX_POLICY_SIZE)
    try:
        return Policy.parse(data, unicode_name(path))
    except PolicyError as error:
        reason = f"trustPolicy: {printable(path)}: {error.message}"
        raise ConfigurationError("policy-malformed", reason) from None


def _read_stream_key(path: str, read: Reader) -> bytes:
    data = _read(path, read, MAX_STREAM_KEY_SIZE)
    try:
        return parse_stream_key(data)
    except CallerError as error:
        reason = f"streamKey: {printable(path)}: {error.message}"
        raise ConfigurationError("stream-key-malformed", reason) from None


@cache
def public_good() -> bytes:
    """Return the trusted root of the Sigstore public-good instance."""
    return (resources.files("muniment") / "sigstore" / "public-good.json").read_bytes()


def select_log(roots: tuple[bytes, ...], rekor_url: str) -> tuple[bytes, ...]:
    """Return the roots that have the log with this URL, without their other logs.

    Raises ConfigurationError with the code `rekor-unknown` if there are none.
    """
    wanted = normal_form(rekor_url)
    selected: list[bytes] = []
    for root in roots:
        document: dict[str, Any] = parse_object(root)
        document["tlogs"] = [log for log in document.get("tlogs") or [] if _has_url(log, wanted)]
        if document["tlogs"]:
            selected.append(json.dumps(document).encode())
    if not selected:
        reason = f"sigstore.rekorUrl: no trusted root has the log {printable(rekor_url)}"
        raise ConfigurationError("rekor-unknown", reason)
    return tuple(selected)


def _has_url(log: dict[str, Any], wanted: str | None) -> bool:
    return normal_form(log.get("baseUrl") or "") == wanted
