// The checks, one after the other, on one mesh and one page: `node main.js SINEW`. With `--screenshots` the pictures of
// the documentation instead, of a mesh whose names are harmless.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { openBrowser, openPage } from './browser.js';
import * as access from './checks/access.js';
import * as events from './checks/events.js';
import { flat } from './checks/memory.js';
import * as quiet from './checks/quiet.js';
import * as shows from './checks/shows.js';
import { token } from './checks/token.js';
import * as trouble from './checks/trouble.js';
import { Mesh } from './mesh.js';
import { screenshots } from './screenshots.js';
import { traffic } from './traffic.js';

const [sinew, ...options] = process.argv.slice(2);
const pictures = options.includes('--screenshots');
const images = join(dirname(fileURLToPath(import.meta.url)), '../../docs/images');
const NAMES = pictures
  ? { topic: 'chat.room.lobby', procedure: 'users.lookup', region: 'ap-south' }
  : { topic: '<img/src=x/onerror=pwned=1//', procedure: '"<b/onload=pwned=1//', region: '<img src=x onerror=pwned=1>' };
const REGIONS = ['eu-west', 'eu-west', 'us-east', 'us-east', NAMES.region];

let failed = 0;

/** Runs a check, says how it went. */
async function check(name, run, world) {
  const begin = performance.now();
  let outcome = 'ok';
  let more = '';
  try {
    more = (await run(world)) ?? '';
  } catch (error) {
    failed += 1;
    outcome = 'FAILED';
    more = `\n${error.stack ?? error}`;
  }
  const seconds = ((performance.now() - begin) / 1000).toFixed(1).padStart(6);
  console.log(`${seconds}s  ${outcome.padEnd(6)}  ${name}${more && `: ${more}`}`);
}

async function checks(world) {
  await check('all five nodes', shows.nodes, world);
  await check('the traffic', shows.traffic, world);
  await check('the charts', shows.charts, world);
  await check('hostile names stay text', shows.hostile, world);
  await check('windows', shows.windows, world);
  await check('sorting', shows.sorting, world);
  await check('filter', events.filter, world);
  await check('pause', events.pause, world);
  await check('500 events and no more', events.bounded, world);
  await check('tab order and focus', access.keyboard, world);
  await check('keys', access.shortcuts, world);
  await check('themes and contrast', access.themes, world);
  await check('390 pixels', access.phone, world);
  await check('little motion', access.motion, world);
  await check('memory', flat, world);
  await check('a slow subscriber', trouble.slowSubscriber, world);
  await check('a killed node', trouble.killed, world);
  await check('a node that leaves', trouble.leaving, world);
  await check('no slow subscriber', trouble.recovered, world);
  await check('console', quiet.console, world);
  await check('requests', quiet.requests, world);
  await check('policy and tags', quiet.policy, world);
  await check('the node asked is away', trouble.offline, world);
  await check('and back', trouble.backAgain, world);
  await check('the token', token, world);
}

const mesh = new Mesh(sinew);
const browser = await openBrowser();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => mesh.end().then(() => process.exit(1)));
try {
  const ids = [];
  for (const [index, region] of REGIONS.entries()) ids.push(await mesh.start(index + 1, region));
  const { stalled } = await traffic(mesh, NAMES);
  const origin = mesh.page(1);
  const opened = await openPage(browser, `${origin}/`);
  const world = { ...opened, browser, mesh, ids, stalled, origin, hostile: NAMES };
  if (pictures) await check('screenshots', () => screenshots(world, images), world);
  else await checks(world);
  if (failed > 0) console.log(mesh.lastWords());
} catch (error) {
  failed += 1;
  console.log(error, mesh.lastWords());
} finally {
  await browser.close();
  await mesh.end();
}
process.exit(failed === 0 ? 0 : 1);
