/** The views in the navigation, in its order. */

import {
  AuditIcon,
  BackfillsIcon,
  CachesIcon,
  ControlsIcon,
  ExceptionsIcon,
  FindingsIcon,
  IncidentsIcon,
  OverviewIcon,
  PrivacyIcon,
  StartIcon,
  VerifyIcon,
} from '../ui/icons';

export const NAVIGATION = [
  { to: '/', name: 'Overview', icon: OverviewIcon },
  { to: '/controls', name: 'Controls', icon: ControlsIcon },
  { to: '/findings', name: 'Findings', icon: FindingsIcon },
  { to: '/exceptions', name: 'Exceptions', icon: ExceptionsIcon },
  { to: '/backfills', name: 'Backfills', icon: BackfillsIcon },
  { to: '/caches', name: 'Caches', icon: CachesIcon },
  { to: '/incidents', name: 'Incidents', icon: IncidentsIcon },
  { to: '/privacy', name: 'Privacy budget', icon: PrivacyIcon },
  { to: '/audit', name: 'Audit', icon: AuditIcon },
  { to: '/verify', name: 'Verify an export', icon: VerifyIcon },
  { to: '/start', name: 'Quickstarts', icon: StartIcon },
] as const;
