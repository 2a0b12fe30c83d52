// What the page shows of a mesh that is well.

import assert from 'node:assert/strict';

import { until } from '../browser.js';

const rowsOf = (id) =>
  [...document.querySelectorAll(`#${id} tbody tr`)].map((tr) => [...tr.cells].map((td) => td.textContent));

/** All five nodes, as up, in the drawing and in the table. */
export async function nodes({ page, ids }) {
  await until(
    page,
    'five nodes up in the drawing',
    (wanted) => {
      const drawn = [...document.querySelectorAll('#topology .node')];
      return (
        drawn.length === wanted.length &&
        drawn.every((node) => node.dataset.mark === 'good' && wanted.includes(node.dataset.node))
      );
    },
    ids,
    30_000,
  );
  await until(
    page,
    'five nodes up in the table',
    () =>
      [...document.querySelectorAll('#node-table tbody tr')].filter((tr) => tr.cells[2].textContent === 'up').length ===
      5,
  );
  assert.equal(await page.textContent('#figures div:nth-child(8) dd'), '5');
  assert.equal(await page.textContent('#link-text'), 'Live');
  assert.match(await page.getAttribute('#topology .node.asked', 'data-node'), new RegExp(`^${ids[0]}$`));
}

/** Traffic: figures, edges, charts, topics, procedures, providers, regions, services, listeners, events. */
export async function traffic({ page }) {
  await until(page, 'events and messages per second', () => {
    const figures = [...document.querySelectorAll('#figures dd')].map((dd) =>
      Number.parseFloat(dd.textContent.replace(/,/g, '')),
    );
    return figures[0] > 10 && figures[1] >= figures[0] && figures[2] > 0;
  });
  await until(page, 'traffic on edges in both directions', () => {
    const flows = [...document.querySelectorAll('#topology .flow')].map((flow) => [flow.dataset.from, flow.dataset.to]);
    return flows.length >= 2 && flows.some(([from, to]) => flows.some(([a, b]) => a === to && b === from));
  });
  for (const [id, key] of [
    ['by-topic', 'sensors.kitchen.temp'],
    ['by-procedure', 'math.square'],
    ['by-region', 'eu-west'],
    ['services', 'math.square'],
    ['topics', 'sensors.kitchen.temp'],
  ]) {
    await until(
      page,
      `${key} in ${id}`,
      ([table, name]) =>
        [...document.querySelectorAll(`#${table} tbody tr`)].some((tr) => tr.cells[0].textContent === name),
      [id, key],
    );
  }
  await until(page, 'a provider', () => document.querySelectorAll('#by-provider tbody tr').length > 0);
  const services = await page.evaluate(rowsOf, 'services');
  assert.deepEqual(
    services.find((row) => row[0] === 'math.square').slice(1, 3),
    ['2', '2'],
    'two instances on two nodes',
  );
  await until(page, 'a latency', () =>
    /\d (µs|ms|s)$/.test(document.querySelector('#figures div:nth-child(5) dd').textContent),
  );
  await until(page, 'events of both kinds', () => {
    const kinds = [...document.querySelectorAll('#event-table tbody tr')].map((tr) => tr.cells[1].textContent);
    return kinds.includes('publish') && kinds.includes('call');
  });
}

/** The charts draw: pixels in the accent's colour, and a newest figure beside each line. */
export async function charts({ page }) {
  for (const id of ['throughput', 'latency']) {
    await until(
      page,
      `lines in the chart ${id}`,
      (chart) => {
        const canvas = document.querySelector(`#${chart} canvas`);
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        let blue = 0;
        for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200 && data[i + 2] > data[i] + 90) blue += 1;
        return blue > 20;
      },
      id,
    );
    const values = await page.$$eval(`#${id}-legend .value`, (all) => all.map((value) => value.textContent));
    assert.equal(values.filter((value) => /^[<\d]/.test(value)).length, 3, `${id}: ${values}`);
  }
}

/** The window is chosen by pointer and by key. */
export async function windows({ page }) {
  const chosen = () => page.$eval('input[name=window]:checked', (input) => input.value);
  await page.click('.window label:has(input[value="60"])');
  assert.equal(await chosen(), '60');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('1');
  assert.equal(await chosen(), '1');
  await page.keyboard.press('2');
  assert.equal(await chosen(), '10');
}

/** Sorting by a heading, there and back. */
export async function sorting({ page }) {
  const names = () =>
    page.$$eval('#by-topic tbody tr td:first-child', (all) =>
      all.map((td) => td.textContent).filter((name) => name !== '(other)'),
    );
  const button = page.locator('#by-topic thead th:first-child button');
  await button.click();
  const up = await names();
  assert.deepEqual(
    up,
    [...up].sort((a, b) => a.localeCompare(b, 'en', { numeric: true })),
  );
  assert.equal(await page.getAttribute('#by-topic thead th:first-child', 'aria-sort'), 'ascending');
  await button.click();
  const down = await names();
  assert.deepEqual(
    down,
    [...down].sort((a, b) => b.localeCompare(a, 'en', { numeric: true })),
  );
  await page.locator('#by-topic thead th:nth-child(2) button').click();
}

/** Names are text: nothing in the page came to be from one. */
export async function hostile({ page, hostile }) {
  for (const id of ['by-topic', 'event-table']) {
    await until(
      page,
      `the hostile topic in ${id}`,
      ([table, name]) => [...document.querySelectorAll(`#${table} tbody td`)].some((td) => td.textContent === name),
      [id, hostile.topic],
    );
  }
  await until(
    page,
    'the hostile region in the drawing',
    (name) => [...document.querySelectorAll('#topology text')].some((text) => text.textContent === name),
    hostile.region,
  );
  await until(
    page,
    'the hostile procedure',
    (name) => [...document.querySelectorAll('#services tbody td')].some((td) => td.textContent === name),
    hostile.procedure,
  );
  assert.equal(await page.evaluate(() => typeof globalThis.pwned), 'undefined');
  assert.equal(
    await page.evaluate(() => document.querySelectorAll('img, iframe, body script, b, [onerror], [onload]').length),
    0,
  );
}
