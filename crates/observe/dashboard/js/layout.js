// Where the nodes of the mesh are drawn: on an ellipse, in an order that stays, so that nothing moves without cause.

/** With more nodes than this names are left to the detail and the table. */
export const NAMED = 24;

/** Room beside the ellipse: for names, and without. */
const MARGIN = { named: { x: 92, y: 46 }, bare: { x: 24, y: 24 } };

/** Radius of the nodes, so that they stay apart. */
export const radius = (number) => (number <= 16 ? 13 : number <= 32 ? 9 : 6);

/** Nodes of one region stand together. */
export function inOrder(nodes) {
  return [...nodes].sort((a, b) => (a.region ?? '').localeCompare(b.region ?? '', 'en') || (a.node < b.node ? -1 : 1));
}

/** Places by node: `{ x, y, side, below }`; `side` is -1, 0 or 1 for names left of, centred at, right of the node. */
export function ring(nodes, width, height) {
  const margin = nodes.length <= NAMED ? MARGIN.named : MARGIN.bare;
  const centre = { x: width / 2, y: height / 2 };
  const rx = Math.max(40, width / 2 - margin.x);
  const ry = Math.max(40, height / 2 - margin.y);
  const places = new Map();
  nodes.forEach((node, index) => {
    if (nodes.length === 1) return places.set(node.node, { ...centre, side: 0, below: true });
    const angle = (2 * Math.PI * index) / nodes.length - Math.PI / 2;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const side = Math.abs(cos) < 0.25 ? 0 : Math.sign(cos);
    places.set(node.node, { x: centre.x + rx * cos, y: centre.y + ry * sin, side, below: sin > 0 });
  });
  return places;
}

/**
 * Links of the frame by pair of nodes: `{ key, a, b, ab, ba, path, rtt_us }`, with messages per second from `a` to `b`
 * and back. Both ends report a link; what one end does not know, the other does.
 */
export function pairs(nodes) {
  const known = new Map(nodes.map((node) => [node.node, node]));
  const found = new Map();
  for (const node of nodes) {
    if (node.state === 'lost') continue;
    for (const link of node.links ?? []) {
      const other = known.get(link.to);
      if (!other || other === node || other.state === 'lost') continue;
      const [a, b] = node.node < link.to ? [node.node, link.to] : [link.to, node.node];
      const key = `${a} ${b}`;
      const pair = found.get(key) ?? { key, a, b, ab: 0, ba: 0, path: link.path, rtt_us: link.rtt_us };
      const [out, back] = a === node.node ? ['ab', 'ba'] : ['ba', 'ab'];
      pair[out] = Math.max(pair[out], link.sent ?? 0);
      pair[back] = Math.max(pair[back], link.received ?? 0);
      found.set(key, pair);
    }
  }
  return [...found.values()];
}

/** A curve from one place to another that keeps to the right of the straight line, and ends before the nodes do. */
export function curve(from, to, radius) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  const bend = Math.min(18, length * 0.06);
  const [cx, cy] = [(from.x + to.x) / 2 - uy * bend, (from.y + to.y) / 2 + ux * bend];
  const at = (place, sign) =>
    `${(place.x + sign * ux * radius).toFixed(1)} ${(place.y + sign * uy * radius).toFixed(1)}`;
  return `M${at(from, 1)}Q${cx.toFixed(1)} ${cy.toFixed(1)} ${at(to, -1)}`;
}
