import { Empty, Page } from '../../ui';

/** Commands for tenants. */
export function View() {
  return (
    <Page title="Quickstarts">
      <Empty title="This view is not built yet">It will show commands for this tenant, ready to copy.</Empty>
    </Page>
  );
}
