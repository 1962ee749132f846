import { Empty, Page } from '../../ui';

/** The controls of a tenant. */
export function View() {
  return (
    <Page title="Controls">
      <Empty title="This view is not built yet">It will show each control with its check and its evidence.</Empty>
    </Page>
  );
}
