import { WARNINGS, type ExportClaimed, type ExportProven, type Report } from '@muniment/verify';
import { useEffect, useRef, useState, type ReactNode } from 'react';

type Signer = ExportProven['signers'][number];

const verdicts = { verified: '✓ Verified', 'not-verified': '✗ Refused', error: '? Not checked' } as const;

/** Shows a report: the verdict first, and what it rests on. */
export function ReportView({ report }: { report: Report<'export'> }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    heading.current?.focus(); // where a screen reader continues
  }, [report]);

  return (
    <article aria-labelledby="verdict">
      <h2 id="verdict" className={report.verdict} ref={heading} tabIndex={-1}>
        {verdicts[report.verdict]}
      </h2>
      {report.verdict === 'verified' ? (
        <>
          <Proven {...report.proven} />
          <Claimed {...report.claimed} />
          <Warnings codes={report.warnings} />
        </>
      ) : (
        <Section title="First failing check">
          <Fact name="code">
            <code>{report.code}</code>
          </Fact>
          <Fact name="step">{report.step === 0 ? 'before the verification' : `${report.step} of 10`}</Fact>
          <Fact name="reason">{report.message}</Fact>
        </Section>
      )}
      <footer>
        <p>
          A verified export does not prove where the data was, nor that no query went unrecorded. See
          docs/sdk-trust-boundary.md.
        </p>
        <Save report={report} />
      </footer>
    </article>
  );
}

function Proven({ exportId, tenant, signers, files, licenses, privacy, entry, stream }: ExportProven) {
  return (
    <Section title="Proven">
      <Fact name="export">
        {exportId}, for {tenant}
      </Fact>
      <Fact name="signed by">
        {signers.map((signer) => (
          <SignerName key={JSON.stringify(signer)} signer={signer} />
        ))}
      </Fact>
      <Fact name="files">
        <ul>
          {files.map(({ name, size, checked }) => (
            <li key={name}>
              {name}, {size} bytes{checked ? ', unchanged' : ', not checked'}
            </li>
          ))}
        </ul>
      </Fact>
      <Fact name="licences">{licenses.join(', ') || 'none'}</Fact>
      {privacy && (
        <Fact name="privacy">
          ε {privacy.epsilon}
          {privacy.delta !== undefined && `, δ ${privacy.delta}`}, by the arithmetic of the flavor. Spent of the budget{' '}
          {privacy.budget}: {privacy.spent}.
        </Fact>
      )}
      {entry && (
        <Fact name="recorded">
          as entry {entry.index} of {entry.origin}
        </Fact>
      )}
      {stream && (
        <Fact name="stream">complete up to size {stream.size}: no recorded spend of the budget is missing</Fact>
      )}
    </Section>
  );
}

function Claimed({ created, rows, residency, sensitivity, sampler }: ExportClaimed) {
  return (
    <Section title="Claimed, not proven">
      <Fact name="created">{created}</Fact>
      {rows !== undefined && <Fact name="rows">{rows}</Fact>}
      {residency.map(({ activity, places, claimedBy, evidence }, i) => (
        <Fact key={i} name={activity}>
          in {places.join(', ')}, with {evidence} evidence {evidence === 1 ? 'entry' : 'entries'}
          <ClaimedBy signer={claimedBy} />
        </Fact>
      ))}
      {sensitivity && (
        <Fact name="sensitivity">
          as stated
          <ClaimedBy signer={sensitivity.claimedBy} />
        </Fact>
      )}
      {sampler && (
        <Fact name="sampler">
          {sampler.name}
          <ClaimedBy signer={sampler.claimedBy} />
        </Fact>
      )}
    </Section>
  );
}

function Warnings({ codes }: { codes: readonly string[] }) {
  if (codes.length === 0) return null;
  return (
    <Section title="Warnings">
      {codes.map((code) => (
        <Fact key={code} name={code}>
          {WARNINGS.get(code)}
        </Fact>
      ))}
    </Section>
  );
}

function ClaimedBy({ signer }: { signer: Signer }) {
  return (
    <span className="by">
      claimed by <SignerName signer={signer} />
    </span>
  );
}

function SignerName({ signer }: { signer: Signer }) {
  if (signer.identity === undefined) return <code>{signer.keyId}</code>;
  return (
    <>
      {signer.identity}, of {signer.issuer}
    </>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title}>
      <h3>{title}</h3>
      <dl>{children}</dl>
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** A link to the report as a page of its own, for printing and keeping. */
function Save({ report }: { report: Report<'export'> }) {
  const [url, setUrl] = useState<string>();
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([report.toHTML()], { type: 'text/html' }));
    setUrl(made);
    return () => {
      URL.revokeObjectURL(made);
    };
  }, [report]);
  return (
    <a className="button" href={url} download="report.html">
      Save the report
    </a>
  );
}
