import { useMutation } from '@tanstack/react-query';
import { Navigate, getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { signInPath, signInWithToken, useSession, type Provider } from '../../session/session';
import { Answer, Button, buttonClass, Empty, Notice, Page, Panel } from '../../ui';
import { TextInput } from '../../ui/Field';
import styles from './signin.module.css';

const route = getRouteApi('/signin');

/** Signs a person in, by a provider or with a token. */
export function View() {
  const { return: wanted, reason } = route.useSearch();
  const session = useSession();
  const then = viewOf(wanted);
  return (
    <div className={styles.view}>
      <Page title="Sign in" lead="Evidence is shown to the people of its tenant alone.">
        {reason === 'ended' && (
          <Notice tone="warn" title="Your session has ended">
            Sign in again to continue where you were.
          </Notice>
        )}
        {reason !== undefined && reason !== 'ended' && (
          <Notice tone="bad" title="The sign-in failed">
            {reason}
          </Notice>
        )}
        <Answer query={session} label="Loading the ways to sign in">
          {({ person, providers }) =>
            person ? (
              <Navigate to={then} replace />
            ) : (
              <>
                <Providers providers={providers} then={then} />
                <TokenForm />
              </>
            )
          }
        </Answer>
      </Page>
    </div>
  );
}

/** Returns a view to continue at: a path of the portal, and nothing else. */
const viewOf = (wanted: string | undefined): string =>
  wanted?.startsWith('/') === true && !/^\/[/\\]|^\/signin/.test(wanted) ? wanted : '/';

function Providers({ providers, then }: { providers: readonly Provider[]; then: string }) {
  return (
    <Panel title="With your organization">
      {providers.length === 0 ? (
        <Empty title="No provider is connected">The operator connects one in the settings of the server.</Empty>
      ) : (
        <ul className={styles.providers}>
          {providers.map(({ id, name }) => (
            <li key={id}>
              <a className={buttonClass('primary')} href={signInPath(id, `/portal${then}`)}>
                Continue with {name}
              </a>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function TokenForm() {
  const [token, setToken] = useState('');
  const signIn = useMutation({ mutationFn: signInWithToken });
  return (
    <Panel title="With a token" note="for networks without a provider">
      <form
        className={styles.form}
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate(token.trim());
        }}
      >
        <TextInput
          label="Token"
          type="password"
          mono
          isRequired
          autoComplete="off"
          value={token}
          onChange={setToken}
          hint="The server exchanges it for a session. The browser does not keep it."
          error={signIn.isError ? signIn.error.message : undefined}
        />
        <div>
          <Button type="submit" isDisabled={signIn.isPending}>
            Sign in with the token
          </Button>
        </div>
      </form>
    </Panel>
  );
}
