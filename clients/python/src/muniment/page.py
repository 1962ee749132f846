"""The HTML page of a report (docs/spec/verify.md, section 5)."""

from collections.abc import Iterable, Sequence
from html import escape as references

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --paper: #fff; --good: #116329; --bad: #a40e26; --unsure: #7d4e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9ea7b0; --line: #3d444d;
  --paper: #0d1117; --good: #56d364; --bad: #ff7b72; --unsure: #e3b341; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
header { border-left: .4rem solid var(--unsure); padding: .1rem 0 .1rem 1rem; }
header.verified { border-color: var(--good); }
header.not-verified { border-color: var(--bad); }
h1 { margin: 0; font-size: 1.5rem; }
.verified h1 { color: var(--good); } .not-verified h1 { color: var(--bad); }
.error h1 { color: var(--unsure); }
p { margin: .25rem 0; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
tr { border-top: 1px solid var(--line); break-inside: avoid; }
th { font-weight: 500; color: var(--soft); text-align: left; width: 16rem; }
th, td { vertical-align: top; padding: .35rem .75rem .35rem 0; overflow-wrap: anywhere; }
td { white-space: pre-wrap; } .values td, code { font: .9em/1.6 ui-monospace, monospace; }
footer { margin-top: 2rem; border-top: 1px solid var(--line); padding-top: .75rem; }
@media (max-width: 40rem) { th, td { display: block; width: auto; padding-right: 0; }
  td { padding-top: 0; } }
@media print { * { color: #000 !important; background: #fff !important; }
  main { max-width: none; padding: 0; } h2 { break-after: avoid; } }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(
    *,
    verdict: str,
    state: str,
    kind: str | None,
    file: str,
    reason: tuple[str, str, str] | None,
    sections: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    boundary: str,
) -> str:
    """Return the page.

    `state` is the verdict as the name of a class. `reason` are step, message and code, None if
    verified. `sections` have a title, and items of label and value. All texts are plain, and
    already escaped for terminals.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{references(f'{verdict}  {file}')}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f'<header class="{state}">',
        f"<h1>{references(verdict)}</h1>",
        f"<p><code>{references(file)}</code></p>",
    ]
    if kind is not None:
        parts.append(f'<p class="soft">{references(kind)}</p>')
    if reason is not None:
        step, message, code = (references(text) for text in reason)
        parts.append(f"<p>step {step}: {message} (<code>{code}</code>)</p>")
    parts.append("</header>")
    for title, items in sections:
        parts += _section(title, items)
    parts += [f'<footer class="soft">{references(boundary)}</footer>', "</main>", "</body>"]
    parts.append("</html>")
    return "\n".join(parts) + "\n"


def _section(title: str, items: Iterable[tuple[str, str]]) -> Iterable[str]:
    kind = "sentences" if title == "Warnings" else "values"
    yield "<section>"
    yield f"<h2>{references(title)}</h2>"
    yield f'<table class="{kind}">'
    for label, value in items:
        yield f'<tr><th scope="row">{references(label)}</th><td>{references(value)}</td></tr>'
    yield "</table>"
    yield "</section>"
