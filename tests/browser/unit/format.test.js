import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  bytes,
  count,
  duration,
  latency,
  percent,
  rate,
  share,
  short,
} from '../../../crates/observe/dashboard/js/format.js';

const table = (format, rows) => rows.forEach(([value, words]) => assert.equal(format(value), words, String(value)));

test('what is not known is said so', () => {
  for (const format of [bytes, count, duration, latency, percent, rate])
    table(format, [
      [null, '–'],
      [undefined, '–'],
      [NaN, '–'],
    ]);
  table(short, [
    [null, '–'],
    ['', '–'],
  ]);
});

test('rates', () =>
  table(rate, [
    [0, '0'],
    [0.01, '<0.1'],
    [0.05, '0.1'],
    [7, '7.0'],
    [99.9, '99.9'],
    [99.96, '100'],
    [1234.5, '1,235'],
    [999_999, '999,999'],
    [1_000_000, '1.00 M'],
    [12_345_678, '12.35 M'],
  ]));

test('latencies keep three figures over each change of unit', () =>
  table(latency, [
    [0, '0 µs'],
    [999, '999 µs'],
    [999.6, '1.00 ms'],
    [1000, '1.00 ms'],
    [12_345, '12.3 ms'],
    [999_499, '999 ms'],
    [999_500, '1.00 s'],
    [1_500_000, '1.5 s'],
    [61_000_000, '61.0 s'],
  ]));

test('nothing but all is 100 %', () =>
  table(percent, [
    [1, '100 %'],
    [0.99999, '99.99 %'],
    [0.5, '50.00 %'],
    [0, '0.00 %'],
  ]));

test('sizes, spans, counts, names', () => {
  table(bytes, [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [71e6, '67.7 MiB'],
    [2 ** 40, '1.00 TiB'],
  ]);
  table(duration, [
    [0, '0 s'],
    [59, '59 s'],
    [60, '1 min'],
    [3661, '1 h 1 min'],
    [90_000, '1 d 1 h'],
    [86_400, '1 d'],
  ]);
  table(count, [[1234567, '1,234,567']]);
  table(short, [
    ['12D3KooWabcdefghijk', '…fghijk'],
    ['short', 'short'],
  ]);
  assert.equal(share(5, 10), 0.5);
  assert.equal(share(5, 0), 0);
});
