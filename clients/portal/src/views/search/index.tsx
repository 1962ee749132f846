import { Empty, Page } from '../../ui';

/** The results of the search box. */
export function View() {
  return (
    <Page title="Search">
      <Empty title="This view is not built yet">
        It will find digests, entries, package URLs, images, signers, controls, findings and incidents.
      </Empty>
    </Page>
  );
}
