import { Empty, Page } from '../../ui';

/** The findings of a tenant. */
export function View() {
  return (
    <Page title="Findings">
      <Empty title="This view is not built yet">It will show open and resolved findings with their deadlines.</Empty>
    </Page>
  );
}
