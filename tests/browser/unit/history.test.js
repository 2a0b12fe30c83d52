import assert from 'node:assert/strict';
import { test } from 'node:test';

import { History, SPAN_S } from '../../../crates/observe/dashboard/js/history.js';

const frame = (time_ms, rate = 1) => ({
  time_ms,
  nodes: [
    { state: 'up', rates: { delivered: 2 } },
    { state: 'lost', rates: { delivered: 99 } },
  ],
  windows: { 1: { rate, p50_us: null }, 10: { rate }, 60: { rate } },
});

const columns = (history) => [
  history.time,
  history.delivered,
  ...Object.values(history.windows).flatMap(Object.values),
];

test('an hour of frames is five minutes of rows, in columns of one length', () => {
  const history = new History();
  for (let i = 0; i < 7200; i += 1) history.add(frame(i * 500, i));
  assert.ok(history.time.length <= 640);
  assert.ok(history.time.at(-1) - history.time[0] >= SPAN_S);
  assert.equal(new Set(columns(history).map((column) => column.length)).size, 1);
  assert.equal(history.windows[10].events.at(-1), 7199);
  assert.equal(history.delivered.at(-1), 2, 'lost nodes deliver nothing');
});

test("frames as fast as they may come don't grow it", () => {
  const history = new History();
  for (let i = 0; i < 5000; i += 1) history.add(frame(i * 10));
  assert.ok(history.time.length <= 640);
});

test('a pause is a gap, not a line', () => {
  const history = new History();
  history.add(frame(1000));
  history.add(frame(9000));
  assert.deepEqual(history.windows[1].events, [1, null, 1]);
});

test('latencies have a place on a logarithmic axis', () => {
  const history = new History();
  history.add({ ...frame(1000), windows: { 1: { p50_us: 0, p95_us: null, p99_us: 7 } } });
  const { p50, p95, p99 } = history.windows[1];
  assert.deepEqual([p50, p95, p99], [[1], [null], [7]]);
});

test('time only goes on', () => {
  const history = new History();
  for (const at of [5000, 5500, 5500, 5200, 6000]) history.add(frame(at));
  assert.deepEqual(history.time, [5, 5.5, 6], 'a frame of the past is left out');
  history.add(frame(1000));
  assert.deepEqual(history.time, [1], 'a clock set back begins anew');
});
