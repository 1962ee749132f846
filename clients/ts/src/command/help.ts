/** The text of --help. */
export const help = `Usage: muniment-verify --policy=POLICY,... <receipts> ... [flags]

Verify Muniment receipts offline.

Needs no server and no network. Scripts should give --tenant, --kind and
--subject: without them any genuine receipt of the log verifies.

Exit code: 0 all verified; 1 one is refused; 2 none is refused, but one could
not be checked (a file that cannot be read), or the call itself is wrong (flags,
policies, keys) and nothing was checked.

Examples:

    muniment-verify provenance.json.receipt.json --policy policy
    muniment-verify scan.receipt.json --policy policy --external scan.json
    muniment-verify app.receipt.json --policy policy --payload app.intoto.json --tenant acme --kind attestation --subject sha256:2cf24dba…
    muniment-verify app.receipt.json --policy policy --signer release@acme.example --issuer https://issuer.example --admitted
    muniment-verify receipts/*.receipt.json --policy policy,policy.2025 --json

Arguments:
  <receipts> ...    Receipt files.

Flags:
  -h, --help                Show this text.
      --version             Show the version.
      --policy=POLICY,...   Policy file: the keys of the log and its witnesses.
                            May be given more than once; one must accept
                            ($MUNIMENT_POLICY).
      --payload=FILE        The payload, for a receipt that does not hold it.
      --external=FILE       The evidence that an entry by reference refers to.
      --header-only         Verify without the payload.
      --tenant=TENANT       The entry must be of this tenant.
      --kind=KIND           The entry must be of this kind.
      --subject=sha256:…    The entry must be about this artifact.
      --predicate-type=URI  The entry must have this in-toto predicate type.
      --control=CONTROL     The entry must be about this control.
      --require-verified    The log must have verified the signatures of the
                            evidence.
      --signer=ID           A verified signer must have this identity or key ID.
      --issuer=URL          The same verified signer must be of this issuer.
      --admitted            An admission policy must have admitted the entry.
      --stream=ID           The entry must be of this stream (its ID in
                            hexadecimal).
      --stream-key=FILE     The entry must be of this key's stream, under its
                            right tag ($MUNIMENT_STREAM_KEY).
      --json                Print one JSON object for each receipt.`;
