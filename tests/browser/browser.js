// The browser, and a page whose console and requests are written down.

import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-extensions',
  '--enable-precise-memory-info',
];

/** A browser with a profile of its own; `close()` ends it. */
export async function openBrowser() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, headless: true, args: ARGUMENTS });
  return browser;
}

/** A page in a context of its own: `{ page, context, console, requests }`. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  const seen = { page, context, console: [], requests: [] };
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) seen.console.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => seen.console.push(`uncaught: ${error.stack}`));
  context.on('request', (request) => seen.requests.push(request.url()));
  page.on('websocket', (socket) => seen.requests.push(socket.url()));
  page.setDefaultTimeout(20_000);
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  return seen;
}

/** Waits until `condition(argument)` holds in the page; `words` say what was waited for. */
export async function until(page, words, condition, argument, timeout = 20_000) {
  const begin = performance.now();
  try {
    await page.waitForFunction(condition, argument, { timeout, polling: 50 });
  } catch (error) {
    throw new Error(`${words}: not within ${timeout} ms (${error.message.split('\n')[0]})`);
  }
  return performance.now() - begin;
}
