/** The text of --help. */
export const help = `Usage: muniment-verify --policy=FILE <receipts> ... [flags]

Verify receipts offline.

Needs no server and no network. Scripts should set --tenant, --kind and
--subject: without them, any genuine receipt of the log verifies.

Exit code: 0 all verified; 1 a receipt was refused; 2 none was refused, but one
could not be checked, or the call is wrong.

Examples:

    muniment-verify provenance.json.receipt.json --policy policy
    muniment-verify scan.receipt.json --policy policy --external scan.json
    muniment-verify app.receipt.json --policy policy --payload app.intoto.json --tenant acme --kind attestation --subject sha256:2cf24dba…
    muniment-verify app.receipt.json --policy policy --signer release@acme.example --issuer https://issuer.example --admitted
    muniment-verify receipts/*.receipt.json --policy policy --policy policy.2025 --json

Arguments:
  <receipts> ...    Receipt files.

Flags:
  -h, --help                Show this help.
      --version             Show the version.
      --policy=FILE         Trust policy: the keys of the log and its
                            witnesses. May be repeated; one must accept
                            ($MUNIMENT_POLICY).
      --payload=FILE        Payload of a receipt that does not contain it.
      --external=FILE       Evidence that an entry by reference refers to.
      --header-only         Verify the header only, without the payload.
      --tenant=TENANT       The entry must belong to this tenant.
      --kind=KIND           The entry must be of this kind.
      --subject=sha256:…    The entry must be about this artifact.
      --predicate-type=URI  The entry must have this in-toto predicate type.
      --control=CONTROL     The entry must be about this control.
      --require-verified    The log must have verified the evidence's
                            signatures.
      --signer=ID           The log must have verified a signature by this
                            identity or key ID.
      --issuer=URL          The log must have verified a signature by an
                            identity of this OIDC issuer.
      --admitted            An admission policy must have admitted the entry.
      --stream=ID           The entry must belong to the stream with this ID, in
                            hexadecimal.
      --stream-key=FILE     The entry must belong to this key's stream, and have
                            the right tag ($MUNIMENT_STREAM_KEY).
      --json                Print one JSON object per receipt.`;
