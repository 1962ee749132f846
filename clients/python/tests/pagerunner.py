"""Runs the commands of a page as written, and compares their output."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Command:
    """A command of a page, and the output that the page shows."""

    text: str
    output: list[str] = field(default_factory=list)


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def files(page: str) -> Mapping[str, str]:
    """Return the files that a page names in the text before their block."""
    pattern = (
        r"`((?:[a-z]+/)?[a-z]+\.(?:py|json|mts|go))`(?:(?!\n\n).)*?:\n\n"
        r"```(?:python|json|ts|go)\n(.*?)^```$"
    )
    return dict(re.findall(pattern, page, re.MULTILINE | re.DOTALL))


def commands(page: str) -> list[Command]:
    """Return the commands of the console blocks, in order."""
    found: list[Command] = []
    for line in "".join(blocks(page, "console")).splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif found[-1].text.endswith("\\") and not found[-1].output:
            found[-1].text += f"\n{line}"
        else:
            found[-1].output.append(line)
    return found


def script(steps: list[Command]) -> str:
    """Return a script for bash that runs the commands, with a mark after the output of each."""
    return "".join(f"{step.text}\nprintf '\\n==%d==\\n' $?\n" for step in steps)


def results(output: str) -> list[tuple[str, int]]:
    """Return output and exit code of each command of a script."""
    parts = re.split(r"\n==(\d+)==\n", output)
    return [(text, int(code)) for text, code in zip(parts[::2], parts[1::2], strict=False)]


def matches(expected: list[str], output: str) -> bool:
    """Report whether output is as a page shows it. `…` stands for any text, and any lines."""
    if not expected:
        return True
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in expected
    )
    return re.fullmatch(pattern, output.rstrip("\n") + "\n") is not None


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page shows."""
    for name, text in files(page).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
