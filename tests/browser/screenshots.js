// The pictures of the documentation.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

const DESK = { width: 1440, height: 1000 };
const LOOKS = [
  { name: 'light', viewport: DESK, colorScheme: 'light' },
  { name: 'dark', viewport: DESK, colorScheme: 'dark' },
  { name: 'phone', viewport: { width: 390, height: 844 }, colorScheme: 'light' },
];
/** Until the charts have something to show; and until the page is drawn anew. */
const SETTLE_MS = 55_000;
const REDRAW_MS = 2000;

/** Writes `dashboard-light.png` and so on into `directory`. */
export async function screenshots({ page }, directory) {
  mkdirSync(directory, { recursive: true });
  await page.waitForTimeout(SETTLE_MS);
  for (const { name, viewport, colorScheme } of LOOKS) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(REDRAW_MS);
    await page.screenshot({ path: join(directory, `dashboard-${name}.png`) });
  }
}
