import { Link, useNavigate, useRouterState } from '@tanstack/react-router';
import { useMutation } from '@tanstack/react-query';
import { Dialog, DialogTrigger } from 'react-aria-components/Dialog';
import { Popover } from 'react-aria-components/Popover';
import { problemOf } from '../api/errors';
import { chooseTenant, signOut, useMaybePerson, useSession, type Person, type Session } from '../session/session';
import { Button, buttonClass } from '../ui/Button';
import { ChevronIcon } from '../ui/icons';
import { Fact, Facts } from '../ui/Page';
import { Status } from '../ui/Status';
import { Ago, Time } from '../ui/Time';
import styles from './Menu.module.css';

/** The tenant, the person, and the end of the session. */
export function SessionMenu() {
  const { data } = useSession();
  const person = useMaybePerson();
  const here = useRouterState({ select: ({ location }) => location.pathname + location.searchStr });
  if (data === undefined) return null;
  if (person) return <Menu person={person} session={data} />;
  if (here.startsWith('/signin')) return null;
  return (
    <Link to="/signin" search={{ return: `/portal${here}` }} className={buttonClass()}>
      Sign in
    </Link>
  );
}

function Menu({ person, session }: { person: Person; session: Session }) {
  const { tenants, expires, idleExpires, replica, provider, providers } = session;
  const navigate = useNavigate();
  const out = useMutation({ mutationFn: signOut, onSuccess: () => navigate({ to: '/signin', search: {} }) });
  return (
    <DialogTrigger>
      <Button kind="quiet" className={styles.tenant ?? ''} aria-label={`Tenant ${person.tenant}, session`}>
        <span className={styles.name}>{person.tenant}</span> <ChevronIcon />
      </Button>
      <Popover className={styles.popover ?? ''} placement="bottom end">
        <Dialog className={styles.dialog ?? ''} aria-label="Session">
          <Facts>
            {tenants.length > 1 ? (
              <Tenants tenants={tenants} current={person.tenant} />
            ) : (
              <Fact name="Tenant">{person.tenant}</Fact>
            )}
            <Fact name="Signed in as">{person.name || person.identity}</Fact>
            {person.name !== '' && person.name !== person.identity && <Fact name="Identity">{person.identity}</Fact>}
            <Fact name="Role">{person.role}</Fact>
            <Fact name="Session ends">{expires === undefined ? 'never' : <Time at={expires} relative />}</Fact>
            {idleExpires !== undefined && idleExpires !== expires && (
              <Fact name="Without use">
                ends <Ago at={idleExpires} />
              </Fact>
            )}
            <Fact name="Signed in with">{providers.find(({ id }) => id === provider)?.name ?? 'a token'}</Fact>
          </Facts>
          {replica && <Status tone="info">This server is a replica: it records nothing</Status>}
          {out.isError && <Status tone="bad">{problemOf(out.error).detail}</Status>}
          <Button
            isDisabled={out.isPending}
            onPress={() => {
              out.mutate();
            }}
          >
            Sign out
          </Button>
        </Dialog>
      </Popover>
    </DialogTrigger>
  );
}

/** The choice of the tenant that is shown. */
function Tenants({ tenants, current }: { tenants: readonly Person[]; current: string }) {
  return (
    <Fact name={<span id="tenant">Tenant</span>}>
      <select
        className={styles.select}
        aria-labelledby="tenant"
        value={current}
        onChange={(event) => {
          chooseTenant(event.target.value);
        }}
      >
        {tenants.map(({ tenant }) => (
          <option key={tenant}>{tenant}</option>
        ))}
      </select>
    </Fact>
  );
}
