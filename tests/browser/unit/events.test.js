import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Recent, passes } from '../../../crates/observe/dashboard/js/events.js';

const event = (id, more = {}) => ({
  id,
  kind: 'publish',
  name: 'a.b',
  node: 'N1',
  region: 'eu',
  provider: null,
  outcome: 'ok',
  ...more,
});

test('the newest are kept, each once', () => {
  const recent = new Recent(5);
  for (let i = 0; i < 100; i += 1)
    recent.add([event(String(i)), event(String(i)), event(String(i - 1))].slice(0, 1 + (i % 3)));
  assert.equal(recent.list.length, 5);
  assert.equal(new Set(recent.list.map((one) => one.id)).size, 5);
  assert.equal(recent.list.at(-1).id, '99');
});

test('filters', () => {
  const all = { text: '', kind: '', outcome: '' };
  assert.ok(passes(event('1'), all));
  for (const text of ['a.b', 'n1', 'eu', 'ok', 'publish']) assert.ok(passes(event('1'), { ...all, text }), text);
  assert.ok(!passes(event('1'), { ...all, text: 'x' }));
  assert.ok(!passes(event('1'), { ...all, kind: 'call' }));
  const outcomes = (outcome) =>
    ['ok', 'unheard', 'failed'].filter((wanted) => passes(event('1', { outcome }), { ...all, outcome: wanted }));
  assert.deepEqual(['ok', 'unheard', 'dropped', 'no-provider'].map(outcomes), [
    ['ok'],
    ['unheard'],
    ['failed'],
    ['failed'],
  ]);
});
