import type { Statement } from '@muniment/verify';
import { Digest, Evidence, Fact, Facts, formatNumber, Panel } from '../../ui';

/** What the receipt proves. */
export function Proven({
  statement,
  isPayloadGenuine,
}: {
  statement: Statement;
  isPayloadGenuine: boolean | undefined;
}) {
  const { origin, index, size, root, leafHash, streamId, seq, headerSha256, headerHash, signers, header } = statement;
  return (
    <Panel title="Proven" note="by hashes and signatures, checked in this browser">
      <Facts>
        <Fact name="Log">
          <Evidence text={origin} />
        </Fact>
        <Fact name="Position">
          entry {formatNumber(index)} of {formatNumber(size)}
          {seq !== undefined && <>, sequence number {formatNumber(seq)} of its stream</>}
        </Fact>
        {streamId !== undefined && (
          <Fact name="Stream">
            <Digest value={streamId} label="stream" />
          </Fact>
        )}
        <Fact name="Leaf">
          <Digest value={leafHash} label="leaf hash" />
        </Fact>
        <Fact name="Root">
          <Digest value={root} label="root" />
        </Fact>
        <Fact name="Header">
          {headerSha256 === undefined ? (
            <>
              erased. Its hash is <Digest value={headerHash} label="header hash" />
            </>
          ) : (
            <Digest value={`sha256:${headerSha256}`} label="SHA-256 of the header" />
          )}
        </Fact>
        {header !== undefined && (
          <Fact name="Payload">
            {formatNumber(header.payload.size)} bytes,{' '}
            {isPayloadGenuine === true
              ? 'checked here'
              : isPayloadGenuine === false
                ? 'not what the server sent'
                : 'not checked yet'}
          </Fact>
        )}
        <Fact name="Signed by">
          {signers.map((signer) => (
            <div key={signer}>
              <Evidence text={signer} mono />
            </div>
          ))}
        </Fact>
      </Facts>
    </Panel>
  );
}
