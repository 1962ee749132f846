/**
 * Every address of the portal. Each view is a folder, and is loaded when it is
 * first shown.
 */

import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router';
import * as v from 'valibot';
import { Layout } from './app/Layout';
import { Members } from './app/Members';
import { NotFound } from './app/NotFound';
import { paging, text } from './records/search';
import { ViewFailed } from './ui/State';
import { search as artifactSearch } from './views/artifact/search';
import { jobSearch as backfillSearch, listSearch as backfillsSearch } from './views/backfills/search';
import { cacheSearch, listSearch as cachesSearch } from './views/caches/search';
import { search as controlSearch } from './views/controls/search';
import { listSearch as exceptionsSearch, newSearch as newExceptionSearch } from './views/exceptions/search';
import { findingSearch, listSearch as findingsSearch } from './views/findings/search';
import { listSearch as incidentsSearch } from './views/incidents/search';

const root = createRootRoute({ component: Layout, notFoundComponent: NotFound, errorComponent: ViewFailed });

/** Views for people who have signed in. */
const members = createRoute({ getParentRoute: () => root, id: 'members', component: Members });

const overview = createRoute({
  getParentRoute: () => members,
  path: '/',
  component: lazyRouteComponent(() => import('./views/overview'), 'View'),
});

const search = createRoute({
  getParentRoute: () => members,
  path: '/search',
  validateSearch: v.object({ q: text, ...paging }),
  component: lazyRouteComponent(() => import('./views/search'), 'View'),
});

const entry = createRoute({
  getParentRoute: () => members,
  path: '/entries/$index',
  component: lazyRouteComponent(() => import('./views/entry'), 'View'),
});

const artifact = createRoute({
  getParentRoute: () => members,
  path: '/artifacts/$digest',
  validateSearch: artifactSearch,
  component: lazyRouteComponent(() => import('./views/artifact'), 'View'),
});

const controls = createRoute({
  getParentRoute: () => members,
  path: '/controls',
  component: lazyRouteComponent(() => import('./views/controls'), 'View'),
});

const control = createRoute({
  getParentRoute: () => members,
  path: '/controls/$id',
  validateSearch: controlSearch,
  component: lazyRouteComponent(() => import('./views/controls/control'), 'View'),
});

const findings = createRoute({
  getParentRoute: () => members,
  path: '/findings',
  validateSearch: findingsSearch,
  component: lazyRouteComponent(() => import('./views/findings'), 'View'),
});

const finding = createRoute({
  getParentRoute: () => members,
  path: '/findings/$id',
  validateSearch: findingSearch,
  component: lazyRouteComponent(() => import('./views/findings/finding'), 'View'),
});

const exceptions = createRoute({
  getParentRoute: () => members,
  path: '/exceptions',
  validateSearch: exceptionsSearch,
  component: lazyRouteComponent(() => import('./views/exceptions'), 'View'),
});

const newException = createRoute({
  getParentRoute: () => members,
  path: '/exceptions/new',
  validateSearch: newExceptionSearch,
  component: lazyRouteComponent(() => import('./views/exceptions/new'), 'View'),
});

const exception = createRoute({
  getParentRoute: () => members,
  path: '/exceptions/$index',
  component: lazyRouteComponent(() => import('./views/exceptions/exception'), 'View'),
});

const backfills = createRoute({
  getParentRoute: () => members,
  path: '/backfills',
  validateSearch: backfillsSearch,
  component: lazyRouteComponent(() => import('./views/backfills'), 'View'),
});

const backfill = createRoute({
  getParentRoute: () => members,
  path: '/backfills/$digest',
  validateSearch: backfillSearch,
  component: lazyRouteComponent(() => import('./views/backfills/job'), 'View'),
});

const caches = createRoute({
  getParentRoute: () => members,
  path: '/caches',
  validateSearch: cachesSearch,
  component: lazyRouteComponent(() => import('./views/caches'), 'View'),
});

const cache = createRoute({
  getParentRoute: () => members,
  path: '/caches/$service',
  validateSearch: cacheSearch,
  component: lazyRouteComponent(() => import('./views/caches/cache'), 'View'),
});

const incidents = createRoute({
  getParentRoute: () => members,
  path: '/incidents',
  validateSearch: incidentsSearch,
  component: lazyRouteComponent(() => import('./views/incidents'), 'View'),
});

const incident = createRoute({
  getParentRoute: () => members,
  path: '/incidents/$id',
  component: lazyRouteComponent(() => import('./views/incidents/incident'), 'View'),
});

const privacy = createRoute({
  getParentRoute: () => members,
  path: '/privacy',
  component: lazyRouteComponent(() => import('./views/privacy'), 'View'),
});

const audit = createRoute({
  getParentRoute: () => members,
  path: '/audit',
  component: lazyRouteComponent(() => import('./views/audit'), 'View'),
});

const start = createRoute({
  getParentRoute: () => members,
  path: '/start',
  component: lazyRouteComponent(() => import('./views/start'), 'View'),
});

/** Needs no session: nothing is asked of the server. */
const verify = createRoute({
  getParentRoute: () => root,
  path: '/verify',
  component: lazyRouteComponent(() => import('./views/verify'), 'View'),
});

const signin = createRoute({
  getParentRoute: () => root,
  path: '/signin',
  validateSearch: v.object({
    return: v.fallback(v.optional(v.string()), undefined),
    /** Why the last attempt failed, as docs/portal.md lists. */
    error: v.fallback(v.optional(v.string()), undefined),
    /** The ID of its request in the server's logs. */
    request: v.fallback(v.optional(v.string()), undefined),
  }),
  component: lazyRouteComponent(() => import('./views/signin'), 'View'),
});

export const router = createRouter({
  routeTree: root.addChildren([
    members.addChildren([
      overview,
      search,
      entry,
      artifact,
      controls,
      control,
      findings,
      finding,
      exceptions,
      newException,
      exception,
      backfills,
      backfill,
      caches,
      cache,
      incidents,
      incident,
      privacy,
      audit,
      start,
    ]),
    verify,
    signin,
  ]),
  basepath: '/portal',
  defaultPreload: 'intent',
  defaultErrorComponent: ViewFailed,
  scrollRestoration: true,
  trailingSlash: 'preserve',
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
