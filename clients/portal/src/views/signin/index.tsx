import { useMutation } from '@tanstack/react-query';
import { Navigate, getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { problemOf } from '../../api/errors';
import { signInPath, signInWithToken, useSession, type Provider } from '../../session/session';
import { Answer, Button, buttonClass, Empty, Notice, Page, Panel } from '../../ui';
import { TextInput } from '../../ui/Field';
import { failureText } from './failures';
import styles from './signin.module.css';

const route = getRouteApi('/signin');

/** Signs a person in, by a provider or with a token. */
export function View() {
  const { return: wanted, error, request } = route.useSearch();
  const session = useSession();
  const then = viewOf(wanted);
  return (
    <div className={styles.view}>
      <Page title="Sign in" lead="Evidence is shown only to members of its tenant.">
        {error !== undefined && (
          <Notice tone="bad" title="The sign-in failed">
            <p>{failureText(error)}</p>
            {request !== undefined && (
              <p>
                The server&rsquo;s log has it under the request <code>{request}</code>.
              </p>
            )}
          </Notice>
        )}
        <Answer query={session} label="Loading the ways to sign in">
          {({ signedIn, ended, providers }) =>
            signedIn ? (
              <Navigate to={then} replace />
            ) : (
              <>
                {(ended || wanted !== undefined) && error === undefined && (
                  <Notice
                    tone={ended ? 'warn' : 'info'}
                    title={ended ? 'Your session has ended' : 'This view is for members of a tenant'}
                  >
                    Sign in, and you continue at <code>{then}</code>.
                  </Notice>
                )}
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
export function viewOf(wanted: string | undefined): string {
  const path = wanted?.startsWith('/portal/') === true ? wanted.slice('/portal'.length) : '/';
  return /^\/[/\\]|^\/signin/.test(path) ? '/' : path;
}

function Providers({ providers, then }: { providers: readonly Provider[]; then: string }) {
  return (
    <Panel title="With your organization">
      {providers.length === 0 ? (
        <Empty title="No provider is connected">
          The operator of the server can connect one. How is in Muniment’s documentation: docs/portal.md.
        </Empty>
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
  const [tenant, setTenant] = useState('');
  const signIn = useMutation({ mutationFn: signInWithToken });
  const isIdentityToken = token.split('.').length === 3;
  return (
    <Panel title="With a token" note="for networks without a provider">
      <form
        className={styles.form}
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate({ token: token.trim(), tenant: tenant.trim() });
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
          hint="A token of the ledger or an identity token. The server keeps it for the session; the browser does not."
          error={signIn.isError ? problemOf(signIn.error).detail : undefined}
        />
        {isIdentityToken && (
          <TextInput
            label="Tenant"
            autoComplete="off"
            value={tenant}
            onChange={setTenant}
            hint="Empty: the only one whose rules match."
          />
        )}
        <div>
          <Button type="submit" isDisabled={signIn.isPending}>
            Sign in with the token
          </Button>
        </div>
      </form>
    </Panel>
  );
}
