// The page's memory over a while.

import assert from 'node:assert/strict';

import { until } from '../browser.js';

const SAMPLES = 20;
/** Charts and events are filled by then: they span five minutes. */
const FILLED_MS = 6 * 60_000;
const BYTES = 1 << 20;

/** Bytes of the heap and numbers of elements after a collection, some twenty times; the last as much as the first. */
export async function flat({ page, context }) {
  const all = Number(process.env.BROWSER_MINUTES ?? 1 / 3) * 60_000;
  const session = await context.newCDPSession(page);
  await session.send('Performance.enable');
  const full = () => document.querySelector('#events-note').textContent.startsWith('500 events');
  await until(page, '500 events', full, null, 60_000);
  await page.waitForTimeout(Math.min(FILLED_MS, all / 3));
  const samples = [];
  const length = all - Math.min(FILLED_MS, all / 3);
  for (let i = 0; i < SAMPLES; i += 1) {
    samples.push(await sample(session));
    await page.waitForTimeout(length / SAMPLES);
  }
  await session.detach();
  const quarter = SAMPLES / 4;
  const grown = (field) => median(samples.slice(-quarter), field) - median(samples.slice(0, quarter), field);
  const words =
    `${mib(median(samples.slice(0, quarter), 'heap'))} to ${mib(median(samples.slice(-quarter), 'heap'))} ` +
    `of heap, ${samples[0].nodes} to ${samples.at(-1).nodes} nodes in ${(all / 60_000).toFixed(1)} min`;
  assert.ok(grown('heap') < BYTES, words);
  // A frame that comes before the count has made up to 850; one that kept its own would make 34,000 in 20 s.
  assert.ok(grown('nodes') < 3000, words);
  assert.ok(grown('listeners') < 50, words);
  return words;
}

async function sample(session) {
  await session.send('HeapProfiler.collectGarbage');
  const { metrics } = await session.send('Performance.getMetrics');
  const value = (name) => metrics.find((metric) => metric.name === name).value;
  return { heap: value('JSHeapUsedSize'), nodes: value('Nodes'), listeners: value('JSEventListeners') };
}

function median(samples, field) {
  const values = samples.map((one) => one[field]).sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)];
}

const mib = (bytes) => `${(bytes / BYTES).toFixed(2)} MiB`;
