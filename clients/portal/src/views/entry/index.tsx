import { Empty, Page } from '../../ui';

/** One entry of the log. */
export function View() {
  return (
    <Page title="Entry">
      <Empty title="This view is not built yet">
        It will show the header, the payload and the receipt, verified in your browser.
      </Empty>
    </Page>
  );
}
