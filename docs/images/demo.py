"""Draw docs/images/demo.svg from the output of `make demo`.

    pip install rich==15.0.0
    make demo >demo.out 2>&1 && python3 docs/images/demo.py demo.out docs/images/demo.svg

Long digests and folder names are shortened. Nothing else is changed.
"""

import re
import sys

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

STEPS = ("4.", "5.", "10.", "11.")
WIDTH = 132
THEME = TerminalTheme(
    (250, 250, 248), (36, 41, 46),
    [(36, 41, 46), (179, 29, 40), (20, 110, 50), (130, 80, 0), (0, 90, 170), (110, 60, 160), (0, 110, 120), (90, 96, 102)],
)
# Without a web font, so that the picture loads nothing.
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>A demonstration: trace an artifact, refuse tampered evidence, verify a receipt offline</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="rgb(250,250,248)" stroke="rgb(208,215,222)"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def shorten(line: str) -> str:
    line = re.sub(r"\S*/(receipts|data)\b", r"\1", line)
    line = re.sub(r"\S*/(forged|tampered|admission)", r"\1", line)
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{32,112}([0-9a-f]{8})\b", r"\1…\2", line)


def style(line: str) -> Text:
    text = Text(line, overflow="fold")
    if re.match(r"\d+\. ", line):
        text.stylize("bold")
    elif line.startswith("$ "):
        text.stylize("blue")
    text.highlight_regex(r"✓( VERIFIED)?", "bold green")
    text.highlight_regex(r"✗( NOT VERIFIED)?|payload: the admission policy refuses.*", "bold red")
    text.highlight_regex(r"^  (proven|claimed|witness) ", "bold")
    return text


def main() -> None:
    output, picture = sys.argv[1:]
    console = Console(width=WIDTH, record=True, file=open("/dev/null", "w"), force_terminal=True)
    shown = False
    for line in open(output, encoding="utf-8").read().split("\n"):
        if re.match(r"\d+\. |Done\.", line):
            shown = line.startswith(STEPS)
        if shown:
            console.print(style(shorten(line)), highlight=False)
    console.save_svg(picture, theme=THEME, code_format=FORMAT, font_aspect_ratio=0.61, unique_id="demo")


main()
