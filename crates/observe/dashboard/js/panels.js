// Which tables there are, and which rows of a frame each one shows.

import { queueLevel } from './alarms.js';
import { byId, el, say, set } from './dom.js';
import { bytes, count, duration, latency, rate, share, short } from './format.js';
import { Table } from './tables.js';

const text = (label, pick, more = {}) => ({
  label,
  value: pick,
  text: (row) => String(pick(row) ?? '–'),
  name: true,
  title: pick,
  ...more,
});
const number = (label, pick, format = count, more = {}) => ({
  label,
  value: pick,
  text: (row) => format(pick(row)),
  num: true,
  ...more,
});
const node = (label, pick, more = {}) => ({
  label,
  value: pick,
  text: (row) => short(pick(row)),
  title: pick,
  ...more,
});
const wide = { wide: true };

const of = (nodes, field) => nodes.flatMap((one) => (one[field] ?? []).map((row) => ({ ...row, of: one })));
const whose = (one) => (one.region ? `${one.region} ${short(one.node)}` : short(one.node));
const place = (label, more = {}) => ({
  ...more,
  label,
  value: (row) => whose(row.of),
  text: (row) => whose(row.of),
  title: (row) => row.of.node,
});

/** All tables; `show(frame, window)` renews them. */
export function makePanels() {
  const panels = [...traffic(), services(), listeners(), nodes(), slow(), queues(), drops()];
  return (frame, secs) => {
    const window = frame.windows?.[secs] ?? {};
    for (const [table, rows] of panels) table.update(rows(frame, window));
  };
}

function panel(id, options, rows) {
  return [new Table(byId(id), options), rows];
}

function traffic() {
  const figures = [
    number('Events/s', (row) => row.rate, rate),
    number('Messages', (row) => row.messages, count, wide),
    number('Failed', (row) => row.failed),
    number('p50', (row) => row.p50_us, latency, wide),
    number('p95', (row) => row.p95_us, latency, wide),
    number('p99', (row) => row.p99_us, latency),
  ];
  const one = (id, name, first, field, empty) =>
    panel(id, { name, columns: [first, ...figures], sort: 1, empty }, (_, window) => window[field] ?? []);
  const key = (row) => row.key;
  return [
    one('by-topic', 'Topics by events', text('Topic', key), 'by_topic', 'Nothing was published in this window.'),
    one(
      'by-procedure',
      'Procedures by events',
      text('Procedure', key),
      'by_procedure',
      'Nobody called in this window.',
    ),
    one(
      'by-provider',
      'Providers by events',
      node('Provider', key),
      'by_provider',
      'No provider answered in this window.',
    ),
    one(
      'by-region',
      'Regions by events',
      text('Region', key, { text: (row) => row.key || '(none)' }),
      'by_region',
      'No events in this window.',
    ),
  ];
}

function services() {
  const state = { label: 'State', value: (row) => row.state, cell: (td, row) => badge(td, row.state, row.mark) };
  const columns = [
    text('Service', (row) => row.key),
    number('Instances', (row) => row.instances),
    number('Nodes', (row) => row.nodes, count, wide),
    number('Calls/s', (row) => row.calls?.rate ?? 0, rate),
    number('p99', (row) => row.calls?.p99_us ?? null, latency, wide),
    state,
  ];
  const rows = (frame, window) => {
    const calls = new Map((window.by_procedure ?? []).map((row) => [row.key, row]));
    return (frame.services ?? []).map((one) => service(one, calls.get(one.name)));
  };
  return panel(
    'services',
    { name: 'Services', columns, descending: false, empty: 'No services are registered.' },
    rows,
  );
}

/** How a service does is how the calls of it ended in this window. */
function service(one, calls) {
  const row = { key: one.name, instances: one.instances, nodes: one.nodes, calls };
  if (one.instances === 0) return { ...row, state: 'no instance', mark: 'critical' };
  if (!calls || calls.events === 0) return { ...row, state: 'idle', mark: 'none' };
  if (calls.failed === calls.events) return { ...row, state: 'fails', mark: 'critical' };
  if (calls.failed > 0) return { ...row, state: 'fails at times', mark: 'warning' };
  return { ...row, state: 'answers', mark: 'good' };
}

function listeners() {
  const columns = [
    text('Topic', (row) => row.key),
    number('Matched', (row) => row.matched),
    number('Published', (row) => row.published),
    number('Unheard', (row) => row.unheard),
  ];
  const rows = (frame) =>
    (frame.topics ?? []).map((row) => ({ ...row, key: row.topic, level: row.matched === 0 ? 'warning' : null }));
  return panel(
    'topics',
    { name: 'Topics and who listens', columns, sort: 2, empty: 'Nothing was published through this node.' },
    rows,
  );
}

function nodes() {
  const rates = (field) => (row) => row.rates?.[field] ?? 0;
  const columns = [
    node('Node', (row) => row.node),
    text('Region', (row) => row.region || '–'),
    {
      label: 'State',
      value: (row) => stateOf(row).text,
      cell: (td, row) => badge(td, stateOf(row).text, stateOf(row).mark),
    },
    number('Up', (row) => row.uptime_s, duration, wide),
    number('Clients', (row) => row.clients),
    number('Subscriptions', (row) => row.subscriptions, count, wide),
    number('Published/s', rates('published'), rate),
    number('Delivered/s', rates('delivered'), rate),
    number('Forwarded/s', rates('forwarded'), rate, wide),
    number('Calls/s', rates('calls'), rate, wide),
    number('Dropped/s', rates('dropped'), rate, wide),
    number('In/s', rates('bytes_in'), bytes, wide),
    number('Out/s', rates('bytes_out'), bytes, wide),
    number('Deliver p99', (row) => row.deliver_us?.p99 ?? null, latency, wide),
    number('Memory', (row) => row.memory, bytes, wide),
  ];
  const rows = (frame) => (frame.nodes ?? []).map((row) => ({ ...row, key: row.node }));
  return panel(
    'node-table',
    { name: 'Nodes', columns, sort: 1, descending: false, empty: 'No node was heard yet.', limit: 200 },
    rows,
  );
}

/** State of a node in words, and its mark. */
export function stateOf(one) {
  if (one.state === 'lost') return { text: 'lost', mark: 'critical' };
  if (one.state === 'leaving') return { text: 'leaving', mark: 'none' };
  if (one.ready === false) return { text: `not ready: ${(one.failing ?? []).join(', ')}`, mark: 'warning' };
  return { text: 'up', mark: 'good' };
}

function slow() {
  const columns = [
    text('Client', (row) => `${row.name || 'client'} #${row.client}`, { title: (row) => `${row.name} ${row.peer}` }),
    text('Pattern', (row) => row.pattern),
    place('Node', wide),
    {
      label: 'Queue',
      num: true,
      value: (row) => share(row.queued, row.capacity),
      cell: (td, row) => meter(td, row.queued, row.capacity),
    },
    number('Missed', (row) => row.missed),
  ];
  const rows = (frame) =>
    of(frame.nodes ?? [], 'slow').map((row) => ({ ...row, key: `${row.of.node} ${row.client} ${row.pattern}` }));
  return panel('slow', { name: 'Slow subscribers', columns, sort: 3, empty: 'Every subscriber keeps up.' }, rows);
}

function queues() {
  const columns = [
    text('Queue', (row) => row.queue),
    place('Node'),
    {
      label: 'Full',
      num: true,
      value: (row) => share(row.depth, row.capacity),
      cell: (td, row) => meter(td, row.depth, row.capacity),
    },
  ];
  const rows = (frame) => {
    const all = of(frame.nodes ?? [], 'queues').filter((row) => row.of.state !== 'lost');
    const intake = frame.intake ?? {};
    all.push({
      queue: 'live_intake',
      depth: intake.depth,
      capacity: intake.capacity,
      of: { node: frame.node, region: '' },
    });
    all.sort((a, b) => share(b.depth, b.capacity) - share(a.depth, a.capacity));
    return all.slice(0, 10).map((row) => ({ ...row, key: `${row.of.node} ${row.queue}` }));
  };
  return panel('queues', { name: 'Fullest queues', columns, sort: 2, empty: 'No queue was reported yet.' }, rows);
}

function drops() {
  const columns = [text('Reason', (row) => row.reason), place('Node'), number('Dropped', (row) => row.total)];
  const rows = (frame) =>
    (frame.nodes ?? []).flatMap((one) =>
      Object.entries(one.dropped ?? {}).map(([reason, total]) => ({
        key: `${one.node} ${reason}`,
        reason,
        total,
        of: one,
      })),
    );
  return panel('drops', { name: 'Drops by reason', columns, sort: 2, empty: 'Nothing was dropped.' }, rows);
}

/** A word with a mark in a colour: the word says it too. */
export function badge(parent, words, mark) {
  const span = parent.firstElementChild ?? parent.appendChild(el('span', { class: 'badge' }));
  span.dataset.mark = mark;
  say(span, words);
}

function meter(td, depth, capacity) {
  if (!td.firstElementChild) {
    td.append(el('meter', { min: 0, max: 1, low: 0.5, high: 0.9, optimum: 0, 'aria-hidden': 'true' }), el('span'));
  }
  const full = share(depth, capacity);
  const [bar, words] = td.children;
  bar.value = full;
  set(td, 'data-level', queueLevel(full));
  set(td, 'title', `${count(depth)} of ${count(capacity)}`);
  say(words, `${Math.floor(full * 100)} %`);
}
