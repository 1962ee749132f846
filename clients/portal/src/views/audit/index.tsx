import { Empty, Page } from '../../ui';

/** Checkpoints and witnesses. */
export function View() {
  return (
    <Page title="Audit">
      <Empty title="This view is not built yet">It will show checkpoints, witnesses and their consistency.</Empty>
    </Page>
  );
}
