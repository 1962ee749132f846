import { logKeyIn } from '../../trust/record';
import { useSession, usePerson } from '../../session/session';
import { Code, Digest, Fact, Facts, Page, Panel } from '../../ui';
import { stepsFor } from './commands';

/** From nothing to a verified receipt, with commands for this tenant. */
export function View() {
  const { tenant } = usePerson();
  const { log: origin = '', policy = '' } = useSession().data ?? {};
  const logKey = logKeyIn(policy);
  const server = location.origin;
  return (
    <Page title="Quickstarts" lead="From nothing to a verified receipt. The commands are filled in for this tenant.">
      <Panel title="This ledger">
        <Facts>
          <Fact name="Server">
            <Digest value={server} label="server" full />
          </Fact>
          <Fact name="Tenant">{tenant}</Fact>
          <Fact name="Origin of the log">{origin}</Fact>
          <Fact name="Key of the log">
            {logKey === undefined ? (
              'not published here: the operator has it'
            ) : (
              <Digest value={logKey} label="log key" full />
            )}
          </Fact>
        </Facts>
      </Panel>
      {stepsFor({ server, tenant, origin, logKey }).map(({ title, about, commands }, i) => (
        <Panel key={title} title={`${i + 1}. ${title}`} note={about}>
          <Code text={commands} label={`commands: ${title}`} />
        </Panel>
      ))}
    </Page>
  );
}
