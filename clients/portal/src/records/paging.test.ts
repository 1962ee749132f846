import { expect, test } from 'vitest';
import { moveBack, moveOn, type Move, type PageOf } from './paging';

test('pages lead back in the order in which they were opened', () => {
  let at: Move = { search: {}, state: { before: [] } };
  const opened: PageOf[] = [];
  for (const token of ['b', 'c', 'd']) {
    opened.push(at.search);
    at = moveOn(at.search, at.state.before, token);
    expect(at.search).toEqual({ page: token, from: 100 * opened.length });
  }
  while (opened.length > 0) {
    at = moveBack(at.state.before);
    expect(at.search).toEqual(opened.pop());
  }
  expect(at).toEqual({ search: {}, state: { before: [] } });
});

test('a page that was opened by its address leads back to the first one', () => {
  expect(moveBack([])).toEqual({ search: {}, state: { before: [] } });
  const next = moveOn({ page: 'm', from: 300 }, [], 'n');
  expect(next.search).toEqual({ page: 'n', from: 400 });
  expect(moveBack(next.state.before).search).toEqual({ page: 'm', from: 300 });
});

test('pages of another size are counted by it', () => {
  expect(moveOn({ page: 'b', from: 500 }, [], 'c', 500).search).toEqual({ page: 'c', from: 1000 });
});
