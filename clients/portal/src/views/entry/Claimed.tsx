import type { Artifact, Header, Signer, Statement } from '@muniment/verify';
import { Link } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import type { Entry } from '../../gen/muniment/v1/ledger_pb';
import { Digest, Evidence, Fact, Facts, formatBytes, Notice, PAGE_SIZE, Pages, Panel, Status, Time } from '../../ui';
import { linkOfAttribute } from './links';
import styles from './entry.module.css';

/** What the log claims about an entry. The receipt proves that it claims it. */
export function Claimed({ statement: { header, time } }: { statement: Statement }) {
  return (
    <Panel title="Claimed" note="by the log, which is bound to it and can be wrong">
      <Facts>
        <Fact name="Recorded">
          <Time at={time} relative />
        </Fact>
        {header !== undefined && <HeaderFacts header={header} />}
      </Facts>
    </Panel>
  );
}

function HeaderFacts({ header }: { header: Header }) {
  const { kind, mediaType, predicateType, submitter, verification, admission, external, idempotencyKey } = header;
  return (
    <>
      <Fact name="Kind">{kind}</Fact>
      <Fact name="Media type">
        <Evidence text={mediaType} mono />
      </Fact>
      {predicateType !== undefined && (
        <Fact name="Predicate type">
          <Evidence text={predicateType} mono />
        </Fact>
      )}
      <Fact name="Submitter">
        <Evidence text={submitter} />
      </Fact>
      <Fact name={verification.result === 'verified' ? 'Signers' : 'Signers, not verified'}>
        {header.signers === undefined ? (
          'none'
        ) : (
          <List items={header.signers} label="signers" draw={(signer) => <SignerText signer={signer} />} />
        )}
      </Fact>
      <Fact name="Signature check">
        {verification.result}
        {verification.format !== undefined && <>, {verification.format}</>}
        {verification.reason !== undefined && (
          <>
            : <Evidence text={verification.reason} />
          </>
        )}
      </Fact>
      {verification.trustedRoot !== undefined && (
        <Fact name="Trusted root">
          <Digest value={verification.trustedRoot} />
        </Fact>
      )}
      {admission !== undefined && (
        <Fact name="Admission">
          {admission.result}
          {admission.rule !== undefined && (
            <>
              {' by rule '}
              <Evidence text={admission.rule} />
            </>
          )}
        </Fact>
      )}
      {header.subjects !== undefined && (
        <Fact name="Subjects">
          <List items={header.subjects} label="subjects" draw={(artifact) => <ArtifactText artifact={artifact} />} />
        </Fact>
      )}
      {header.materials !== undefined && (
        <Fact name="Materials">
          <List items={header.materials} label="materials" draw={(artifact) => <ArtifactText artifact={artifact} />} />
        </Fact>
      )}
      {header.controls !== undefined && (
        <Fact name="Controls">
          <List
            items={header.controls}
            label="controls"
            draw={(id) => (
              <Link to="/controls/$id" params={{ id }}>
                <Evidence text={id} />
              </Link>
            )}
          />
        </Fact>
      )}
      {external !== undefined && (
        <Fact name="Kept elsewhere">
          {formatBytes(external.size)}
          {external.location !== undefined && (
            <>
              {' at '}
              <Evidence text={external.location} mono />
            </>
          )}
          <Digests digest={external.digest} />
        </Fact>
      )}
      {Object.entries(header.attributes ?? {}).map(([name, value]) => (
        <Fact key={name} name={<Evidence text={name} />}>
          <Attribute name={name} value={value} />
        </Fact>
      ))}
      {idempotencyKey !== undefined && (
        <Fact name="Idempotency key">
          <Evidence text={idempotencyKey} mono />
        </Fact>
      )}
    </>
  );
}

function Attribute({ name, value }: { name: string; value: string }) {
  const text = <Evidence text={value} />;
  const link = linkOfAttribute(name, value);
  return link === undefined ? text : <Link {...link}>{text}</Link>;
}

/** Items in pages of 100. */
function List<Item>({
  items,
  label,
  draw,
}: {
  items: readonly Item[];
  label: string;
  draw: (item: Item) => ReactNode;
}) {
  const [offset, setOffset] = useState(0);
  const page = items.slice(offset, offset + PAGE_SIZE);
  const move = (to: number) =>
    to < 0 || to >= items.length
      ? undefined
      : () => {
          setOffset(to);
        };
  return (
    <div className={styles.list}>
      <ul className={styles.items}>
        {page.map((item, i) => (
          <li key={offset + i}>{draw(item)}</li>
        ))}
      </ul>
      <Pages
        label={label}
        offset={offset}
        count={page.length}
        total={items.length}
        onPrevious={move(offset - PAGE_SIZE)}
        onNext={move(offset + PAGE_SIZE)}
      />
    </div>
  );
}

function ArtifactText({ artifact: { name, digest } }: { artifact: Artifact }) {
  return (
    <>
      {name !== undefined && <Evidence text={name} />}
      <Digests digest={digest} />
    </>
  );
}

/** Algorithms by which artifacts have pages. */
const addressed = /^(sha256|sha384|sha512)$/;

function Digests({ digest }: { digest: Readonly<Record<string, string>> }) {
  return Object.entries(digest).map(([algorithm, value]) => {
    const whole = `${algorithm}:${value}`;
    if (!addressed.test(algorithm) || !/^[0-9a-f]+$/.test(value))
      return (
        <div key={algorithm}>
          <Evidence text={whole} mono />
        </div>
      );
    return (
      <div key={algorithm} className={styles.digest}>
        <Digest value={whole} />
        <Link to="/artifacts/$digest" params={{ digest: whole }}>
          artifact
        </Link>
      </div>
    );
  });
}

function SignerText({ signer: { identity, issuer, keyId } }: { signer: Signer }) {
  return (
    <>
      {identity !== undefined && <Evidence text={identity} />}
      {issuer !== undefined && (
        <span className={styles.issuer}>
          {' of '}
          <Evidence text={issuer} />
        </span>
      )}
      {keyId !== undefined && (
        <div>
          key <Evidence text={keyId} mono />
        </div>
      )}
    </>
  );
}

/** The server's description of an entry whose receipt does not verify. */
export function ClaimedByServer({ entry }: { entry: Entry }) {
  return (
    <Panel title="Not verified" note="the server’s description of the entry, without proof">
      <Notice tone="warn" title="Do not rely on this">
        The receipt does not verify, so this can be changed, and the payload is not shown.
      </Notice>
      <Facts>
        <Fact name="Recorded">
          <Time at={entry.time} />
        </Fact>
        <Fact name="Kind">
          <Evidence text={entry.kind} />
        </Fact>
        <Fact name="Media type">
          <Evidence text={entry.mediaType} mono />
        </Fact>
        <Fact name="Submitter">
          <Evidence text={entry.submitter} />
        </Fact>
        <Fact name="Signature check">
          <Status tone="neutral">
            <Evidence text={entry.verification} />
          </Status>
        </Fact>
        <Fact name="Subjects">
          <List items={entry.subjects} label="subjects" draw={({ name }) => <Evidence text={name} />} />
        </Fact>
      </Facts>
    </Panel>
  );
}
