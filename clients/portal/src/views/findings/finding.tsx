import { Empty, Page } from '../../ui';

/** One finding. */
export function View() {
  return (
    <Page title="Finding">
      <Empty title="This view is not built yet">It will show the history of the finding with its evidence.</Empty>
    </Page>
  );
}
