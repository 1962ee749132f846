import { Link, useNavigate, useRouterState } from '@tanstack/react-router';
import { useMutation } from '@tanstack/react-query';
import { Dialog, DialogTrigger } from 'react-aria-components/Dialog';
import { Popover } from 'react-aria-components/Popover';
import { problemOf } from '../api/errors';
import { signOut, useSession, type Person } from '../session/session';
import { Button, buttonClass } from '../ui/Button';
import { ChevronIcon } from '../ui/icons';
import { Fact, Facts } from '../ui/Page';
import { Status } from '../ui/Status';
import { Time } from '../ui/Time';
import styles from './Menu.module.css';

/** The tenant, the person, and the end of the session. */
export function SessionMenu() {
  const { data } = useSession();
  const here = useRouterState({ select: ({ location }) => location.pathname + location.searchStr });
  if (data === undefined) return null;
  if (data.person) return <Menu person={data.person} replica={data.replica} />;
  if (here.startsWith('/signin')) return null;
  return (
    <Link to="/signin" search={{ return: here }} className={buttonClass()}>
      Sign in
    </Link>
  );
}

function Menu({ person, replica }: { person: Person; replica: boolean }) {
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
            <Fact name="Tenant">{person.tenant}</Fact>
            <Fact name="Signed in as">{person.name || person.identity}</Fact>
            {person.name !== '' && person.name !== person.identity && <Fact name="Identity">{person.identity}</Fact>}
            <Fact name="Role">{person.role}</Fact>
            <Fact name="Session ends">
              {person.expires === undefined ? 'never' : <Time at={person.expires} relative />}
            </Fact>
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
