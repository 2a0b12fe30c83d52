// What the page must not have done, all the while.

import assert from 'node:assert/strict';

/** No error or warning on the console. */
export async function console({ console: said }) {
  assert.deepEqual(said, []);
}

/** Not one request to anybody but the node asked. */
export async function requests({ requests: asked, origin }) {
  assert.ok(asked.length > 10);
  assert.ok(asked.some((url) => url.endsWith('/api/v1/live')));
  assert.deepEqual(
    asked.filter((url) => new URL(url).origin !== origin),
    [],
  );
}

/** The policy forbids what the page does not do. */
export async function policy({ page, origin }) {
  const answer = await page.request.get(`${origin}/`);
  const policy = answer.headers()['content-security-policy'];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  const tag = answer.headers().etag;
  const again = await page.request.get(`${origin}/`, { headers: { 'if-none-match': tag } });
  assert.equal(again.status(), 304);
}
