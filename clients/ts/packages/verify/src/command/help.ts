/** The text of --help. */
export const help = `Usage: muniment-verify --config=FILE <files> ... [flags]
       muniment-verify --policy=FILE <receipts> ... [flags]

Verify receipts, exports, evidence bundles, streams and Sigstore bundles
offline.

Needs no server and no network. Scripts should set --tenant, --kind and
--subject: without them, any genuine receipt of the log verifies.

Exit code: 0 all verified; 1 one was refused; 2 none was refused, but one could
not be checked, or the call is wrong.

Examples:

    muniment-verify provenance.json.receipt.json --policy policy
    muniment-verify scan.receipt.json --policy policy --external scan.json
    muniment-verify app.receipt.json --policy policy --payload app.intoto.json --tenant acme --kind attestation --subject sha256:2cf24dba…
    muniment-verify app.receipt.json --policy policy --signer release@acme.example --issuer https://issuer.example --admitted
    muniment-verify receipts/*.receipt.json --policy policy --policy policy.2025 --json
    muniment-verify --config muniment.json provenance.sigstore.json --artifact app.tar.gz
    muniment-verify --config muniment.json export.sigstore.json --files export/ --html report.html
    muniment-verify --config muniment.json --as stream acme.bundle.tar

Arguments:
  <files> ...       Files to verify: of any kind with --config, receipts with
                    --policy.

Flags:
  -h, --help                Show this help.
      --version             Show the version.
      --config=FILE         Configuration: what to trust and what to require.
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
      --json                Print one JSON object per file.

With --config:
      --as=KIND             Kind of the files: receipt, sigstore-bundle, export,
                            stream or evidence-bundle. Default: recognized.
      --artifact=FILE       What a Sigstore bundle is about: a file, or sha256:
                            and 64 hexadecimal digits.
      --files=DIR           Folder with the files of an export.
      --receipt=FILE        Receipt of an export.
      --stream-bundle=FILE  Evidence bundle of the export's tenant.
      --export=ID           The export must have this ID.
      --identity=ID         The evidence bundle must have this identity.
      --html=FILE           Also write the report as a page.
      --report=FILE         Also write the report as evidence to append.`;
