import { Empty, Page } from '../../ui';

/** Everything about an artifact. */
export function View() {
  return (
    <Page title="Artifact">
      <Empty title="This view is not built yet">It will show the timeline, the graph and the decisions.</Empty>
    </Page>
  );
}
