import { Empty, Page } from '../../ui';

/** The privacy budget of data sets. */
export function View() {
  return (
    <Page title="Privacy budget">
      <Empty title="This view is not built yet">It will show the budget of each data set over time.</Empty>
    </Page>
  );
}
