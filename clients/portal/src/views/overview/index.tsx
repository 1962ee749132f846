import { Empty, Page } from '../../ui';

/** The state of a tenant at a glance. */
export function View() {
  return (
    <Page title="Overview">
      <Empty title="This view is not built yet">
        It will show coverage, decisions, findings, exceptions and the health of the log.
      </Empty>
    </Page>
  );
}
