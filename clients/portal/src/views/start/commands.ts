/** The commands of the quickstarts, filled in for a tenant. */

export interface Place {
  server: string;
  tenant: string;
  /** Of the log. */
  origin: string;
  /** Of the log, as a C2SP vkey. Undefined: this server does not publish it. */
  logKey: string | undefined;
}

export interface Step {
  title: string;
  /** One sentence. */
  about: string;
  commands: string;
}

/** Quotes a word for a shell, if it needs it. */
export const quoted = (word: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** Returns the steps from nothing to a verified receipt. */
export function stepsFor({ server, tenant, origin, logKey }: Place): Step[] {
  return [
    {
      title: 'Connect',
      about: 'The token comes from an administrator of your tenant. It stays in its file.',
      commands: `export MUNIMENT_SERVER=${quoted(server)}\nexport MUNIMENT_TOKEN_FILE=${quoted(`${tenant}.token`)}\nmuniment whoami`,
    },
    {
      title: 'Trust the log',
      about: `The policy pins the key of ${origin}. Compare the key with one that you got another way.`,
      commands:
        logKey === undefined
          ? '# The operator of the log has the policy.\nexport MUNIMENT_POLICY=policy'
          : `printf '%s\\n' ${quoted(`log ${logKey}`)} 'quorum none' > policy\nexport MUNIMENT_POLICY=policy`,
    },
    {
      title: 'Record evidence',
      about: 'Any document is evidence. Bundles, envelopes and statements are recognized.',
      commands: 'muniment append provenance.sigstore.json --receipt-dir receipts',
    },
    {
      title: 'Verify without the server',
      about: 'The exit code is 0 if all receipts verify, 1 if one was refused.',
      commands: `muniment verify receipts/*.receipt.json --tenant ${quoted(tenant)}`,
    },
    {
      title: 'Ask a gate',
      about: 'The exit code is 0 if the artifact may ship. Put its digest in place of $digest.',
      commands: 'muniment gate "$digest" --stage deploy --environment production',
    },
    {
      title: 'Issue tokens for jobs',
      about: 'This requires the role admin. A job that appends needs no more than the role appender.',
      commands: 'muniment token issue ci --role appender --expires 90d -o ci.token',
    },
  ];
}
