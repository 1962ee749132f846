"""Loads the vectors of export manifests."""

import base64
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from muniment import CallerError, Policy, export, parse_stream_key
from vectors import load


@dataclass(frozen=True)
class ExportCase:
    """A case of exports.json. `raw` are its members."""

    name: str
    file: dict[str, Any]
    raw: dict[str, Any]

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    def _decode(self, group: str, member: str) -> bytes | None:
        name = self.raw.get(member)
        return None if name is None else base64.b64decode(self.file[group][name])

    @property
    def manifest(self) -> bytes:
        """The file of the manifest."""
        return base64.b64decode(self.raw["manifest"] or "", validate=True)

    @property
    def files(self) -> dict[str, bytes] | None:
        """The files of the export, None if they are not given."""
        name = self.raw.get("files")
        if name is None:
            return None
        return {f: base64.b64decode(c or "") for f, c in self.file["files"][name].items()}

    def inputs(self, files: export.Files | None) -> export.Inputs:
        """Return the inputs of the case, with the files in the given form."""
        key = self.raw.get("streamKey")
        expect = self.raw.get("expect", {})
        required = ("licenses", "residency", "epsilon")
        return export.Inputs(
            keys=[export.PublicKey.parse(self.file["keys"][n].encode()) for n in self.raw["keys"]],
            policies=[
                Policy.parse(self.file["policies"][name].encode(), name)
                for name in self.raw.get("policies", [])
            ],
            files=files,
            receipt=self._decode("receipts", "receipt"),
            stream=self._decode("streams", "stream"),
            stream_key=(
                None if key is None else parse_stream_key(self.file["streamKeys"][key].encode())
            ),
            tenant=expect.get("tenant"),
            export=expect.get("export"),
            requirements=export.parse_requirements(
                {name: self.raw[name] for name in required if name in self.raw}
            ),
        )

    @cached_property
    def expected(self) -> tuple[str, str | None, Any]:
        """The verdict, the code and the report."""
        return self.raw["verdict"], self.raw.get("reason"), self.raw.get("report")

    def verify(
        self, manifest: bytes | None = None, files: export.Files | None = None
    ) -> tuple[str, str | None, Any]:
        """Verify the manifest, or another in its place: verdict, code and report."""
        try:
            inputs = self.inputs(self.files if files is None else files)
            report = export.verify(self.manifest if manifest is None else manifest, inputs)
        except export.ExportError as error:
            return error.verdict, error.code, None
        except CallerError as error:
            return "not-checked", error.code, None
        json = report.to_json()
        return json.pop("verdict"), None, json


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


_FILE = load("exports.json")
CASES = [ExportCase(raw["name"], _FILE, raw) for raw in _FILE["cases"]]


def export_case(name: str) -> ExportCase:
    """Return the case with this name."""
    (found,) = (case for case in CASES if case.name == name)
    return found
