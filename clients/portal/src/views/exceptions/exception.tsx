import { Empty, Page } from '../../ui';

/** One exception. */
export function View() {
  return (
    <Page title="Exception">
      <Empty title="This view is not built yet">
        It will show the request, the approvals and what passes because of it.
      </Empty>
    </Page>
  );
}
