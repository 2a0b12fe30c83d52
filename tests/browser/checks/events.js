// The event feed: filter and pause.

import assert from 'node:assert/strict';

import { until } from '../browser.js';

const cells = (index) =>
  [...document.querySelectorAll('#event-table tbody tr')].map((tr) => tr.cells[index].textContent);

export async function filter({ page }) {
  await page.fill('#filter', 'KITCHEN');
  await until(page, 'only the filtered topic', () => {
    const names = [...document.querySelectorAll('#event-table tbody tr')].map((tr) => tr.cells[2].textContent);
    return names.length > 0 && names.every((name) => name.includes('kitchen'));
  });
  await page.fill('#filter', 'no such thing anywhere');
  await until(page, 'nothing', () => document.querySelectorAll('#event-table tbody tr').length === 0);
  await page.focus('#filter');
  await page.keyboard.press('Escape');
  assert.equal(await page.inputValue('#filter'), '');

  await page.selectOption('#filter-kind', 'call');
  await until(page, 'only calls', () => {
    const rows = [...document.querySelectorAll('#event-table tbody tr')];
    return rows.length > 0 && rows.every((tr) => tr.cells[1].textContent === 'call');
  });
  await page.selectOption('#filter-outcome', 'failed');
  await until(page, 'only failed calls', () => {
    const rows = [...document.querySelectorAll('#event-table tbody tr')];
    return rows.length > 0 && rows.every((tr) => tr.cells[1].textContent === 'call' && tr.dataset.outcome === 'failed');
  });
  await page.selectOption('#filter-kind', 'publish');
  await page.selectOption('#filter-outcome', 'unheard');
  await until(page, 'only what nobody heard', () => {
    const rows = [...document.querySelectorAll('#event-table tbody tr')];
    return rows.length > 0 && rows.every((tr) => tr.cells[6].textContent === 'unheard');
  });
  await page.selectOption('#filter-kind', '');
  await page.selectOption('#filter-outcome', '');
  assert.ok(new Set(await page.evaluate(cells, 2)).size > 1);
}

export async function pause({ page }) {
  await page.click('#pause');
  assert.equal(await page.getAttribute('#pause', 'aria-pressed'), 'true');
  const held = await page.evaluate(cells, 0);
  await until(page, 'newer events are counted and not shown', () =>
    /Paused: \d*[1-9]\d*/.test(document.querySelector('#events-note').textContent),
  );
  assert.deepEqual(await page.evaluate(cells, 0), held);
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('p');
  assert.equal(await page.getAttribute('#pause', 'aria-pressed'), 'false');
  await until(
    page,
    'new events after the pause',
    (before) => document.querySelector('#event-table tbody tr').cells[0].textContent !== before,
    held[0],
  );
}

/** The list is bounded, and each event is in it once. */
export async function bounded({ page }) {
  await until(
    page,
    '500 events',
    () => document.querySelector('#events-note').textContent.startsWith('500 events'),
    null,
    60_000,
  );
  await page.waitForTimeout(1500);
  assert.equal(await page.evaluate(() => document.querySelectorAll('#event-table tbody tr').length), 500);
}
