import { Empty, Page } from '../../ui';

/** Requests an exception. */
export function View() {
  return (
    <Page title="Request an exception">
      <Empty title="This view is not built yet">It will show what starts passing before you ask.</Empty>
    </Page>
  );
}
