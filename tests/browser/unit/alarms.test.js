import assert from 'node:assert/strict';
import { test } from 'node:test';

import { watchAlarms } from '../../../crates/observe/dashboard/js/alarms.js';

const node = (more) => ({
  node: 'a',
  region: '',
  state: 'up',
  ready: true,
  failing: [],
  queues: [],
  dropped: {},
  ...more,
});
const frame = (time_ms, nodes, intake = {}) => ({
  time_ms,
  nodes,
  intake: { depth: 0, dropped: 0, forged: 0, ...intake },
});
const levels = (alarms) => alarms.map((alarm) => alarm.level);

test('queues warn from 50 % and are critical from 90 %', () => {
  const of = (depth) => levels(watchAlarms()(frame(0, [node({ queues: [{ queue: 'q', depth, capacity: 100 }] })])));
  assert.deepEqual([49, 50, 89, 90, 100].map(of), [[], ['warning'], ['warning'], ['critical'], ['critical']]);
});

test('the intake warns from 100 and is critical from 500', () => {
  const of = (depth) => levels(watchAlarms()(frame(0, [], { depth })));
  assert.deepEqual([99, 100, 499, 500].map(of), [[], ['warning'], ['warning'], ['critical']]);
});

test('lost nodes come first, and nothing else is said of them', () => {
  const full = [{ queue: 'q', depth: 95, capacity: 100 }];
  const alarms = watchAlarms()(
    frame(0, [node({ node: 'b', queues: full }), node({ state: 'lost', queues: full, ready: false })]),
  );
  assert.deepEqual(
    alarms.map((alarm) => alarm.text),
    ['Node a is lost', 'Queue q of b is 95 % full'],
  );
});

test('a node that is not ready tells why; one that leaves need not be', () => {
  const watch = watchAlarms();
  const [alarm] = watch(frame(0, [node({ ready: false, failing: ['overlay', 'disk'] })]));
  assert.equal(alarm.text, 'Node a is not ready: overlay, disk');
  assert.deepEqual(watch(frame(0, [node({ ready: false, state: 'leaving' })])), []);
});

test('drops are said while they rise and 10 s after, old ones not at all', () => {
  const watch = watchAlarms();
  const at = (seconds, total) =>
    watch(frame(seconds * 1000, [node({ dropped: { 'queue-full': total, old: 9 } })])).map((a) => a.text);
  assert.deepEqual(at(0, 5), []);
  assert.deepEqual(at(1, 6), ['Node a drops messages: queue-full']);
  assert.deepEqual(at(10, 6), ['Node a drops messages: queue-full']);
  assert.deepEqual(at(11, 6), []);
});

test('what the view itself loses or refuses is said', () => {
  const watch = watchAlarms();
  watch(frame(0, []));
  assert.equal(watch(frame(500, [], { dropped: 3, forged: 1 })).length, 2);
});

test('what is remembered goes with its node', () => {
  const watch = watchAlarms();
  watch(frame(0, [node({ dropped: { r: 5 } })]));
  watch(frame(500, []));
  assert.deepEqual(watch(frame(1000, [node({ dropped: { r: 9 } })])), [], 'a node that is heard anew begins anew');
});
