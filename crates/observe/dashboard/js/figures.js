// The row of figures for the chosen window.

import { byId, el, say } from './dom.js';
import { count, latency, percent, rate } from './format.js';

const FIGURES = [
  ['Events/s', (w) => rate(w.rate)],
  ['Messages/s', (w) => rate(w.message_rate)],
  ['Calls', (w) => count(w.calls)],
  ['Success', (w) => percent(w.success)],
  ['p50', (w) => latency(w.p50_us)],
  ['p95', (w) => latency(w.p95_us)],
  ['p99', (w) => latency(w.p99_us)],
  ['Nodes', (_, frame) => nodesUp(frame.nodes ?? [])],
  ['Clients', (_, frame) => count(sum(frame.nodes, 'clients'))],
];

/** `show(frame, window)` writes them. */
export function makeFigures() {
  const values = FIGURES.map(([label]) => {
    const value = el('dd', {}, '–');
    byId('figures').append(el('div', {}, el('dt', {}, label), value));
    return value;
  });
  return (frame, secs) => {
    const window = frame.windows?.[secs] ?? {};
    FIGURES.forEach(([, text], index) => say(values[index], text(window, frame)));
  };
}

function nodesUp(nodes) {
  const up = nodes.filter((node) => node.state === 'up').length;
  return up === nodes.length ? count(up) : `${count(up)} of ${count(nodes.length)}`;
}

const sum = (nodes, field) =>
  (nodes ?? []).reduce((all, node) => all + (node.state === 'lost' ? 0 : (node[field] ?? 0)), 0);
