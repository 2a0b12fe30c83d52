// The page that asks somebody from another host for the token.

import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';

import { openPage, until } from '../browser.js';

const TOKEN = 'a-token-for-this-test';

/**
 * As from another host: through a relay with an address that is not loopback, to a node whose address is. What comes from
 * the node's own host, over whichever address, needs no token.
 */
export async function token({ browser, mesh }) {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((one) => one.family === 'IPv4' && !one.internal)?.address;
  if (!outside) return 'NOT CHECKED: this host has only loopback addresses';
  const relay = await relayTo(await mesh.startAlone(TOKEN), outside);
  const origin = `http://127.0.0.1:${relay.address().port}`;
  const { page, context, console: said } = await openPage(browser, origin);
  assert.equal(await page.title(), 'Sinew');
  assert.equal(
    await page.evaluate(() => getComputedStyle(document.querySelector('main')).paddingLeft),
    '24px',
    'it has its style',
  );
  await page.fill('#token', 'not the token');
  await page.click('button');
  await until(page, 'a refusal', () => /not the token/.test(document.querySelector('[role=status]').textContent));
  await page.fill('#token', TOKEN);
  await page.keyboard.press('Enter');
  await until(page, 'the live view', () => document.querySelector('#link')?.dataset.state === 'live');
  assert.equal(page.url(), `${origin}/`, 'the token is not in the address');
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script sees the token');
  const others = said.filter((line) => !line.includes('401'));
  await context.close();
  relay.close();
  assert.deepEqual(others, []);
}

/** Carries connections to the node at `url`, which sees them come from `localAddress`. */
async function relayTo(url, localAddress) {
  const { hostname: host, port } = new URL(url);
  const relay = createServer((near) => {
    const far = connect({ host, port, localAddress });
    near.pipe(far).pipe(near);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  });
  await new Promise((done) => relay.listen(0, '127.0.0.1', done));
  return relay;
}
