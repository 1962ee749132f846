import { Empty, Page } from '../../ui';

/** Verifies dropped files. */
export function View() {
  return (
    <Page title="Verify an export">
      <Empty title="This view is not built yet">
        It will verify exports, evidence bundles, receipts and Sigstore bundles in your browser.
      </Empty>
    </Page>
  );
}
