import assert from 'node:assert/strict';
import { test } from 'node:test';

import { inOrder, pairs, ring } from '../../../crates/observe/dashboard/js/layout.js';

const names = ['c', 'a', 'b', 'e', 'd'];
const nodes = names.map((node) => ({ node, region: node < 'c' ? 'eu' : 'us', state: 'up', links: [] }));

test('places depend on who is there, not on the order of the frame', () => {
  const one = ring(inOrder(nodes), 600, 360);
  const other = ring(inOrder([...nodes].reverse()), 600, 360);
  assert.deepEqual([...one].sort(), [...other].sort());
  for (const { x, y } of one.values()) assert.ok(x > 0 && x < 600 && y > 0 && y < 360);
  assert.deepEqual(
    inOrder(nodes).map((node) => node.region),
    ['eu', 'eu', 'us', 'us', 'us'],
  );
});

test('a link is one pair, whoever tells of it, and has both directions', () => {
  const a = { node: 'a', state: 'up', links: [{ to: 'b', path: 'quic', rtt_us: 9, sent: 5, received: 2 }] };
  const b = { node: 'b', state: 'up', links: [{ to: 'a', path: 'quic', rtt_us: 9, sent: 2, received: 5 }] };
  const wanted = [{ key: 'a b', a: 'a', b: 'b', ab: 5, ba: 2, path: 'quic', rtt_us: 9 }];
  assert.deepEqual(pairs([a, b]), wanted);
  assert.deepEqual(pairs([b, { ...a, links: [] }]), wanted);
});

test('lost and unknown nodes have no links', () => {
  const a = {
    node: 'a',
    state: 'up',
    links: [
      { to: 'b', sent: 1, received: 1 },
      { to: 'x', sent: 1, received: 1 },
      { to: 'a', sent: 1 },
    ],
  };
  assert.deepEqual(pairs([a, { node: 'b', state: 'lost', links: [{ to: 'a', sent: 1 }] }]), []);
});
