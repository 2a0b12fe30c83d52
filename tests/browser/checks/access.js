// For everybody: keyboard, contrast, narrow screens, little motion.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'];
const CONTRAST = ['color-contrast'];

/** What Tab reaches, and that each of it shows that it has the focus. */
export async function keyboard({ page }) {
  await page.reload({ waitUntil: 'domcontentloaded' });
  await page.waitForFunction(() => document.querySelectorAll('#by-topic tbody tr').length > 0);
  await page.evaluate(noteFocus);
  for (let i = 0; i < 100; i += 1) await page.keyboard.press('Tab');
  const noted = await page.evaluate(() => globalThis.focused);
  const again = noted.findIndex(({ name }, index) => index > 0 && name === 'skip');
  const once = again < 0 ? noted : noted.slice(0, again);
  assert.deepEqual(
    once.filter(({ visible }) => !visible),
    [],
    'the focus shows',
  );
  const reached = once.map(({ name }) => name);
  for (const wanted of ['theme', 'help-open', 'filter', 'filter-kind', 'filter-outcome', 'pause', 'Topic', 'Service']) {
    assert.ok(reached.includes(wanted), `Tab reaches ${wanted}: ${reached}`);
  }
  assert.equal(reached[0], 'skip');
  assert.equal(reached.filter((name) => String(name).startsWith('node')).length, 1, 'the mesh is one stop');
}

/** In the page: notes what gets the focus, and whether that is to be seen. */
function noteFocus() {
  globalThis.focused = [];
  const isVisible = (at) => {
    if (at.matches('.node')) {
      const { stroke, strokeWidth } = getComputedStyle(at.querySelector('.halo'));
      return stroke !== 'none' && Number.parseFloat(strokeWidth) >= 3;
    }
    const { outlineStyle, outlineWidth } = getComputedStyle(at.matches('.window input') ? at.nextElementSibling : at);
    return outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 2;
  };
  document.addEventListener('focusin', ({ target: at }) => {
    const name = at.id || at.className.baseVal || at.className || at.textContent.slice(0, 20) || at.name;
    globalThis.focused.push({ name, visible: isVisible(at) });
  });
}

/** Arrow keys in the mesh, and the keys of the help. */
export async function shortcuts({ page }) {
  await page.focus('#topology .node[tabindex="0"]');
  const first = await page.textContent('#detail dd');
  await page.keyboard.press('ArrowRight');
  await page.waitForFunction((before) => document.querySelector('#detail dd').textContent !== before, first);
  await page.keyboard.press('Escape');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'filter');
  await page.keyboard.type('p1t?');
  assert.equal(await page.inputValue('#filter'), 'p1t?', 'keys are letters while somebody writes');
  await page.keyboard.press('Escape');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('?');
  assert.ok(await page.evaluate(() => document.querySelector('#help').open));
  await page.keyboard.press('Escape');
  assert.ok(!(await page.evaluate(() => document.querySelector('#help').open)));
}

/** Both themes, by the system and by the switch: without a violation of WCAG 2.1 A and AA that axe knows. */
export async function themes({ page }) {
  await page.emulateMedia({ colorScheme: 'light' });
  await judge(page, 'light, by the system');
  await page.emulateMedia({ colorScheme: 'dark' });
  await judge(page, 'dark, by the system', CONTRAST);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.evaluate(() => document.activeElement.blur());
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.keyboard.press('t');
  assert.equal(await ground(), light);
  await page.keyboard.press('t');
  assert.notEqual(await ground(), light);
  await judge(page, 'dark, by the switch', CONTRAST);
  await page.reload({ waitUntil: 'domcontentloaded' });
  assert.notEqual(await ground(), light, 'the choice is kept');
  await page.waitForFunction(() => document.querySelectorAll('#topology .node').length >= 5);
  await page.keyboard.press('t');
  assert.equal(await page.textContent('#theme'), 'Theme: auto');
}

async function judge(page, how, runOnly = WCAG) {
  await page.evaluate(axe);
  const found = await page.evaluate((rules) => {
    // Some rows of the events stand for all.
    const all = { include: [['html']], exclude: [['#event-table tbody tr:nth-child(n + 6)']] };
    return globalThis.axe.run(all, { runOnly: rules });
  }, runOnly);
  const words = found.violations.flatMap((one) =>
    one.nodes.map((node) => `${one.id}: ${node.target} ${node.failureSummary}`),
  );
  assert.deepEqual(words, [], how);
  assert.ok(
    found.passes.some((one) => one.id === 'color-contrast'),
    'contrast was looked at',
  );
}

/** 390 pixels: nothing sticks out, and the controls can be touched. */
export async function phone({ page }) {
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForTimeout(700);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `the page is ${wide} pixels wide`);
  await judge(page, '390 pixels', CONTRAST);
  await page.setViewportSize({ width: 1440, height: 900 });
}

export async function motion({ page }) {
  const offset = () =>
    page.evaluate(() => getComputedStyle(document.querySelector('#topology .dots')).strokeDashoffset);
  const moved = async () => {
    const before = await offset();
    await page.waitForTimeout(450);
    return (await offset()) !== before;
  };
  assert.ok(await moved(), 'dots go with the messages');
  await page.emulateMedia({ reducedMotion: 'reduce' });
  assert.ok(!(await moved()), 'and stand still for those who asked for it');
  await page.emulateMedia({ reducedMotion: 'no-preference' });
}
