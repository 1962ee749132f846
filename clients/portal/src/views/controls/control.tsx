import { Empty, Page } from '../../ui';

/** One control. */
export function View() {
  return (
    <Page title="Control">
      <Empty title="This view is not built yet">It will show documentation, check, mapping, evidence and replay.</Empty>
    </Page>
  );
}
