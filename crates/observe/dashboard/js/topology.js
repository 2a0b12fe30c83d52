// The drawing of the mesh. Nodes are coloured (and marked) by their state, edges carry moving dots where messages go.

import { Keyed, byId, say, set, svg } from './dom.js';
import { latency, rate, short } from './format.js';
import { NAMED, curve, inOrder, pairs, radius, ring } from './layout.js';
import { stateOf } from './panels.js';

const HINT = 'Dots go with the messages. A ring marks the node asked. Point at a node or a link for more.';
/** Most directions drawn with traffic, in a mesh of few nodes and of many; all links are drawn as plain lines. */
const FLOWS = { few: 120, many: 40 };
/** With more nodes than this only the links of the node that is looked at are drawn with traffic, while one is. */
const FEW = 12;
const HEIGHT = 360;
/** Steps of the dots until they are where they were: the largest distance of two of them, in pixels. */
const STEPS = 28;
const STEP_MS = 100;

/** `show(frame)` draws; `onChoose(node or null)` is told which node is looked at. */
export function makeTopology(onChoose) {
  const canvas = byId('topology');
  const layers = ['lines', 'flows', 'hits', 'nodes'].map((name) => canvas.appendChild(svg('g', { class: name })));
  const lines = layers[0].appendChild(svg('path', { class: 'idle' }));
  say(byId('edge-note'), HINT);
  const view = { canvas, frame: null, order: [], chosen: null, hovered: null, places: new Map() };
  const look = () => onChoose(view.hovered ?? view.chosen);
  const parts = {
    lines,
    flows: new Keyed(layers[1], makeFlow, updateFlow),
    hits: new Keyed(layers[2], makeHit, (hit, pair) => set(hit, 'd', pair.straight)),
    nodes: new Keyed(
      layers[3],
      (node) => makeNode(node, view, look),
      (group, node) => updateNode(group, node, view),
    ),
  };
  flow(layers[1]);
  const show = (frame) => {
    view.frame = frame;
    draw(view, parts);
  };
  new ResizeObserver(() => {
    if (view.frame) draw(view, parts);
  }).observe(canvas);
  canvas.addEventListener('keydown', (event) => steer(event, view, look));
  return show;
}

/**
 * Moves the dots, ten steps a second. A clock of its own and not an animation: the browser would go over the whole page
 * sixty times a second for it.
 */
function flow(layer) {
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  let step = 0;
  setInterval(() => {
    if (still.matches || document.hidden || layer.childElementCount === 0) return;
    step = (step + 1) % STEPS;
    layer.style.setProperty('--flow', step);
  }, STEP_MS);
}

function draw(view, { lines, flows, hits, nodes }) {
  const width = Math.max(280, view.canvas.clientWidth);
  set(view.canvas, 'viewBox', `0 0 ${width} ${HEIGHT}`);
  view.order = inOrder(view.frame.nodes ?? []);
  view.places = ring(view.order, width, HEIGHT);
  const ids = view.order.map((node) => node.node);
  if (!ids.includes(view.chosen)) view.chosen = null;
  if (!ids.includes(view.hovered)) view.hovered = null;
  view.tab = view.chosen ?? (ids.includes(view.tab) ? view.tab : ids[0]);
  const links = pairs(view.order).map((pair) => ({ ...pair, straight: straight(view.places, pair) }));
  set(lines, 'd', links.map((pair) => pair.straight).join(''));
  flows.show(busiest(links, view), (flow) => flow.key);
  hits.show(links, (pair) => pair.key);
  nodes.show(view.order, (node) => node.node);
  const looked = view.hovered ?? view.chosen;
  for (const flow of view.canvas.querySelectorAll('.flow')) {
    flow.classList.toggle('faint', looked !== null && flow.dataset.from !== looked && flow.dataset.to !== looked);
  }
}

function straight(places, { a, b }) {
  const [from, to] = [places.get(a), places.get(b)];
  return `M${from.x.toFixed(1)} ${from.y.toFixed(1)}L${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
}

/** The directions with the most traffic, each with its curve. */
function busiest(links, { places, order, hovered, chosen }) {
  const looked = hovered ?? chosen;
  const many = order.length > FEW;
  const flows = links.flatMap(({ a, b, ab, ba }) => [
    { key: `${a} ${b}`, from: a, to: b, rate: ab },
    { key: `${b} ${a}`, from: b, to: a, rate: ba },
  ]);
  const wanted = ({ from, to, rate: messages }) =>
    messages > 0 && (!many || !looked || from === looked || to === looked);
  const gap = radius(order.length) + 3;
  return flows
    .filter(wanted)
    .sort((x, y) => y.rate - x.rate)
    .slice(0, many ? FLOWS.many : FLOWS.few)
    .map((flow) => ({ ...flow, d: curve(places.get(flow.from), places.get(flow.to), gap) }));
}

function makeFlow() {
  const group = svg('g', { class: 'flow' });
  group.append(svg('path', { class: 'bed' }), svg('path', { class: 'dots' }));
  return group;
}

function updateFlow(group, flow) {
  const [bed, dots] = group.children;
  set(bed, 'd', flow.d);
  set(dots, 'd', flow.d);
  set(group, 'data-from', flow.from);
  set(group, 'data-to', flow.to);
  // Ten times the messages, a little thicker; steps, so that it doesn't tremble.
  const size = Math.min(6, Math.max(0, Math.round(Math.log10(flow.rate) * 2) / 2));
  set(bed, 'stroke-width', 1.5 + size * 0.75);
  set(dots, 'stroke-width', 2.5 + size * 0.75);
  set(group, 'data-speed', flow.rate < 10 ? 'slow' : flow.rate < 1000 ? 'even' : 'fast');
}

function makeHit(pair) {
  const hit = svg('path', {});
  hit.addEventListener('pointerenter', () => {
    hit.classList.add('on');
    say(
      byId('edge-note'),
      `${short(pair.a)} ⇄ ${short(pair.b)}, ${pair.path ?? 'unknown path'}, ${latency(pair.rtt_us)}: ` +
        `${rate(pair.ab)}/s there, ${rate(pair.ba)}/s back`,
    );
  });
  hit.addEventListener('pointerleave', () => {
    hit.classList.remove('on');
    say(byId('edge-note'), HINT);
  });
  return hit;
}

function makeNode(node, view, look) {
  const group = svg('g', { class: 'node', role: 'button', tabindex: '-1' });
  group.append(
    svg('circle', { class: 'halo' }),
    svg('circle', { class: 'body' }),
    svg('text', { class: 'mark', 'text-anchor': 'middle', dy: '0.36em' }),
    svg('text', { class: 'region' }),
    svg('text', { class: 'short' }),
  );
  const hover = (which) => {
    view.hovered = which;
    look();
  };
  group.addEventListener('pointerenter', () => hover(node.node));
  group.addEventListener('pointerleave', () => hover(null));
  group.addEventListener('click', () => choose(view, look, view.chosen === node.node ? null : node.node));
  group.addEventListener('focus', () => choose(view, look, node.node));
  return group;
}

const MARKS = { critical: '×', warning: '!', none: '–', good: '' };

function updateNode(group, node, view) {
  const place = view.places.get(node.node);
  const state = stateOf(node);
  const [halo, body, mark, region, name] = group.children;
  const size = radius(view.order.length);
  set(halo, 'r', size + 5);
  set(body, 'r', size);
  group.style.transform = `translate(${place.x.toFixed(1)}px, ${place.y.toFixed(1)}px)`;
  set(group, 'data-node', node.node);
  set(group, 'data-mark', state.mark);
  set(group, 'data-state', node.state);
  set(group, 'aria-label', `${node.region || ''} ${short(node.node)}: ${state.text}`.trim());
  set(group, 'aria-pressed', view.chosen === node.node);
  set(group, 'tabindex', view.tab === node.node ? 0 : -1);
  group.classList.toggle('asked', node.node === view.frame.node);
  say(mark, size < 9 ? '' : MARKS[state.mark]);
  const named = view.order.length <= NAMED;
  say(region, named ? node.region || '' : '');
  say(name, named ? short(node.node) : '');
  placeNames(place, size, region, name, node.region ? 0 : -7);
}

function placeNames({ side, below }, size, region, name, lift) {
  const anchor = side === 0 ? 'middle' : side < 0 ? 'end' : 'start';
  const x = side * (size + 9);
  const first = side !== 0 ? -3 : below ? size + 18 : -size - 22;
  for (const [node, y] of [
    [region, first],
    [name, first + 14 + lift],
  ]) {
    set(node, 'text-anchor', anchor);
    set(node, 'x', x);
    set(node, 'y', y);
  }
}

function choose(view, look, which) {
  if (view.chosen === which) return;
  view.chosen = which;
  look();
}

/** Arrow keys go round the ring; Escape lets go. */
function steer(event, view, look) {
  if (event.key === 'Escape') return choose(view, look, null);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || view.order.length === 0) return;
  event.preventDefault();
  const at = view.order.findIndex((node) => node.node === (view.chosen ?? view.tab));
  const next = view.order[(at + step + view.order.length) % view.order.length].node;
  for (const group of view.canvas.querySelectorAll('.node')) if (group.dataset.node === next) group.focus();
}
