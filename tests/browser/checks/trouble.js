// What the page shows of a mesh that is not well.

import assert from 'node:assert/strict';

import { until } from '../browser.js';

/** A subscriber that is stopped is listed, with its pattern and its node. */
export async function slowSubscriber({ page, stalled }) {
  stalled.kill('SIGSTOP');
  const took = await until(
    page,
    'the stopped subscriber among the slow ones',
    () => [...document.querySelectorAll('#slow tbody tr')].some((tr) => tr.cells[1].textContent === 'load.stalled'),
    null,
    30_000,
  );
  const row = await page.$eval('#slow tbody tr', (tr) => [...tr.cells].map((td) => td.textContent));
  stalled.kill('SIGCONT');
  assert.match(row[2], /^eu-west …/);
  return `listed after ${(took / 1000).toFixed(1)} s as ${row.join(', ')}`;
}

/** One that goes on is listed no more, ten seconds after it missed the last. */
export async function recovered({ page }) {
  const none = () => document.querySelectorAll('#slow tbody tr').length === 0;
  await until(page, 'no slow subscriber any more', none, null, 30_000);
}

/** A killed node is red, in the drawing, the table and the alarms, within 5 s. */
export async function killed({ page, mesh, ids }) {
  mesh.signal(5, 'SIGKILL');
  const took = await until(
    page,
    'the killed node red',
    (id) => {
      const node = document.querySelector(`#topology .node[data-node="${id}"]`);
      if (!node) return false;
      const [red, green, blue] = getComputedStyle(node.querySelector('.body')).fill.match(/\d+/g).map(Number);
      return node.dataset.state === 'lost' && red > 150 && red > 2 * green && red > 2 * blue;
    },
    ids[4],
    5000,
  );
  await until(
    page,
    'an alarm',
    (end) =>
      [...document.querySelectorAll('#alarms li[data-level=critical]')].some(
        (li) => li.textContent.includes(end) && li.textContent.includes('lost'),
      ),
    ids[4].slice(-6),
  );
  assert.match(await page.textContent('#alarm-news'), /is lost/);
  assert.equal(await page.textContent('#figures div:nth-child(8) dd'), '4 of 5');
  return `red after ${(took / 1000).toFixed(1)} s`;
}

/** A node that was told to end says that it leaves, and is gone. */
export async function leaving({ page, mesh, ids }) {
  mesh.signal(4, 'SIGTERM');
  const said = until(
    page,
    'leaving',
    (id) => document.querySelector(`#topology .node[data-node="${id}"]`)?.dataset.state !== 'up',
    ids[3],
    15_000,
  );
  await said;
  const states = new Set();
  const begin = performance.now();
  while (performance.now() - begin < 20_000) {
    const state = await page.evaluate(
      (id) => document.querySelector(`#topology .node[data-node="${id}"]`)?.dataset.state ?? 'gone',
      ids[3],
    );
    states.add(state);
    if (state === 'gone') break;
    await page.waitForTimeout(50);
  }
  assert.deepEqual([...states], ['leaving', 'gone'], 'never lost');
  return `gone ${((performance.now() - begin) / 1000).toFixed(1)} s after it said so`;
}

/** The node asked does not answer, then it is no more: the page says so each time, and dims what it shows. */
export async function offline({ page, mesh }) {
  mesh.signal(1, 'SIGSTOP');
  await until(page, 'stale', () => document.querySelector('#link').dataset.state === 'stale', null, 8000);
  mesh.signal(1, 'SIGCONT');
  await until(page, 'live again', () => document.querySelector('#link').dataset.state === 'live');
  mesh.signal(1, 'SIGKILL');
  await until(page, 'offline', () => document.querySelector('#link').dataset.state === 'offline', null, 8000);
  assert.ok(await page.evaluate(() => document.body.classList.contains('old')));
}

/** ... and goes on by itself when the node is back. */
export async function backAgain({ page, mesh }) {
  await mesh.start(1, 'eu-west');
  await until(page, 'live again', () => document.querySelector('#link').dataset.state === 'live', null, 20_000);
  await until(page, 'figures', () => !document.body.classList.contains('old'));
}
