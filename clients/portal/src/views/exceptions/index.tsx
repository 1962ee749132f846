import { Empty, Page } from '../../ui';

/** The exceptions of a tenant. */
export function View() {
  return (
    <Page title="Exceptions">
      <Empty title="This view is not built yet">
        It will show requested, approved, expired and revoked exceptions.
      </Empty>
    </Page>
  );
}
