// The pictures of the documentation.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { openPage } from './browser.js';

const LOOKS = {
  light: { viewport: { width: 1440, height: 1000 }, colorScheme: 'light' },
  dark: { viewport: { width: 1440, height: 1000 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: 'light', deviceScaleFactor: 2 },
};
/** Until the charts have something to show. */
const SETTLE_MS = 45_000;

/** Writes `dashboard-light.png` and so on into `directory`. */
export async function screenshots({ browser, origin }, directory) {
  mkdirSync(directory, { recursive: true });
  const open = await Promise.all(
    Object.entries(LOOKS).map(async ([name, look]) => [name, await openPage(browser, `${origin}/`, look)]),
  );
  await open[0][1].page.waitForTimeout(SETTLE_MS);
  for (const [name, { page, context }] of open) {
    await page.bringToFront();
    await page.screenshot({ path: join(directory, `dashboard-${name}.png`) });
    await context.close();
  }
}
