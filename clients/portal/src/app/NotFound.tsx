import { Link } from '@tanstack/react-router';
import { Page } from '../ui/Page';
import { Empty } from '../ui/State';

/** The answer to addresses that the portal does not have. */
export function NotFound() {
  return (
    <Page title="Not found">
      <Empty title="The portal has no such page">
        Search for a digest, an entry index or a name in the box above, or go to the <Link to="/">overview</Link>.
      </Empty>
    </Page>
  );
}
