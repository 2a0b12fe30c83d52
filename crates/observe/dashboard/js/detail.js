// What is known of the node that is looked at; while none is, of the node asked.

import { byId, el, say } from './dom.js';
import { bytes, count, duration, latency, rate } from './format.js';
import { badge, stateOf } from './panels.js';

const ROWS = [
  ['Node', (node) => node.node],
  ['Region', (node) => node.region || '–'],
  ['Up for', (node) => duration(node.uptime_s)],
  ['Last heard', (node) => `${count(node.heard_ms)} ms ago`],
  ['Clients', (node) => `${count(node.clients)}, ${count(node.subscriptions)} subscriptions`],
  ['Memory', (node) => bytes(node.memory)],
  ['Published', (node) => `${rate(node.rates?.published)}/s, ${count(node.totals?.published)} in all`],
  ['Delivered', (node) => `${rate(node.rates?.delivered)}/s, ${count(node.totals?.delivered)} in all`],
  ['Forwarded', (node) => `${rate(node.rates?.forwarded)}/s, ${count(node.totals?.forwarded)} in all`],
  ['Calls', (node) => `${rate(node.rates?.calls)}/s, ${count(node.totals?.calls)} in all`],
  ['Dropped', (node) => `${rate(node.rates?.dropped)}/s, ${count(node.totals?.dropped)} in all`],
  [
    'Delivery',
    (node) => (node.deliver_us ? `p50 ${latency(node.deliver_us.p50)}, p99 ${latency(node.deliver_us.p99)}` : '–'),
  ],
  ['Links', (node) => linksOf(node)],
];

function linksOf(node) {
  const links = node.links ?? [];
  if (links.length === 0) return 'none';
  const paths = new Map();
  for (const link of links) paths.set(link.path, (paths.get(link.path) ?? 0) + 1);
  const ways = [...paths].map(([path, number]) => `${number} × ${path}`).join(', ');
  const rtts = links.map((link) => link.rtt_us).filter(Number.isFinite);
  const [least, most] = [Math.min(...rtts), Math.max(...rtts)];
  const trip = rtts.length > 0 ? `, round trip ${latency(least)} to ${latency(most)}` : '';
  return `${links.length} (${ways})${trip}`;
}

/** `show(frame, id)`: the node of this id; for `null` the one asked. */
export function makeDetail() {
  const state = el('p');
  const values = ROWS.map(() => el('dd'));
  const list = el('dl', {}, ...ROWS.map(([label], i) => el('div', {}, el('dt', {}, label), values[i])));
  const box = el('div', { hidden: '' }, state, list);
  byId('detail').append(box);
  return (frame, id) => {
    const node = (frame.nodes ?? []).find((one) => one.node === (id ?? frame.node));
    box.hidden = !node;
    if (!node) return;
    const { text, mark } = stateOf(node);
    badge(state, text, mark);
    ROWS.forEach(([, words], i) => say(values[i], words(node)));
  };
}
