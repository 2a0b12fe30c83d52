// The sample of events: the newest 500, filtered, and still while paused.

import { Keyed, byId, el, say, set } from './dom.js';
import { count, latency, short, time } from './format.js';

const KEPT = 500;
const COLUMNS = [
  ['Time', (event) => time(event.time_ms)],
  ['Kind', (event) => event.kind, 'wide'],
  ['Name', (event) => event.name, 'name'],
  ['From', (event) => `${event.region || ''} ${short(event.node)}`.trim(), 'wide'],
  ['To', (event) => target(event), 'wide'],
  ['Messages', (event) => count(event.messages), 'num wide'],
  ['Outcome', (event) => event.outcome, 'outcome'],
  ['Latency', (event) => latency(event.latency_us), 'num'],
];

/** The newest events, oldest first, each once. */
export class Recent {
  #ids = new Set();
  list = [];

  constructor(kept = KEPT) {
    this.kept = kept;
  }

  add(sample) {
    for (const event of sample) {
      if (this.#ids.has(event.id)) continue;
      this.#ids.add(event.id);
      this.list.push(event);
    }
    const old = Math.max(0, this.list.length - this.kept);
    for (const event of this.list.splice(0, old)) this.#ids.delete(event.id);
  }
}

/** Whether an outcome is of this class: '' is any. */
export function isOutcome(outcome, wanted) {
  if (wanted === '') return true;
  if (wanted === 'failed') return outcome !== 'ok' && outcome !== 'unheard';
  return outcome === wanted;
}

/** Whether an event passes the filter `{ text, kind, outcome }`. */
export function passes(event, { text, kind, outcome }) {
  if (kind !== '' && event.kind !== kind) return false;
  if (!isOutcome(event.outcome, outcome)) return false;
  if (text === '') return true;
  const all = [event.name, event.node, event.region, event.provider, event.outcome, event.kind];
  return all.some((field) => typeof field === 'string' && field.toLowerCase().includes(text));
}

function target(event) {
  if (event.kind === 'call') return short(event.provider);
  if (event.nodes > 0) return event.nodes === 1 ? '1 other node' : `${event.nodes} other nodes`;
  return event.outcome === 'unheard' ? 'nobody' : 'here';
}

/** The feed: `add(sample)` keeps, `show()` draws, `toggle()` pauses or resumes. */
export function makeEvents() {
  const recent = new Recent();
  const table = byId('event-table');
  const body = el('tbody');
  table.append(el('caption', { class: 'hidden' }, 'Events, newest first'), head(), body);
  const rows = new Keyed(body, row);
  let paused = null;
  let missed = 0;

  const show = () => {
    const wanted = filter();
    const from = paused ?? recent.list;
    const shown = from.filter((event) => passes(event, wanted)).reverse();
    rows.show(shown, (event) => event.id);
    say(byId('events-note'), note(shown.length, from.length, paused !== null, missed));
  };
  const toggle = () => {
    paused = paused === null ? recent.list.slice() : null;
    missed = 0;
    set(byId('pause'), 'aria-pressed', paused !== null);
    say(byId('pause'), paused === null ? 'Pause' : 'Resume');
    show();
  };
  const add = (sample) => {
    if (paused !== null) missed += sample.length;
    recent.add(sample);
  };
  byId('pause').addEventListener('click', toggle);
  byId('filters').addEventListener('input', show);
  byId('filters').addEventListener('submit', (event) => event.preventDefault());
  byId('filter').addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    byId('filter').value = '';
    show();
  });
  return { add, show, toggle };
}

function filter() {
  return {
    text: byId('filter').value.trim().toLowerCase(),
    kind: byId('filter-kind').value,
    outcome: byId('filter-outcome').value,
  };
}

function note(shown, kept, paused, missed) {
  const rows = shown === kept ? `${count(shown)} events` : `${count(shown)} of ${count(kept)} events`;
  return paused ? `${rows}. Paused: ${count(missed)} newer ones are not shown.` : rows;
}

function head() {
  const cells = COLUMNS.map(([label, , style]) => el('th', { scope: 'col', class: style }, label));
  return el('thead', {}, el('tr', {}, ...cells));
}

function row(event) {
  const cells = COLUMNS.map(([label, text, style]) => {
    const words = String(text(event) ?? '–');
    return el('td', { class: style, title: label === 'Name' ? words : null }, words);
  });
  const tr = el('tr', {}, ...cells);
  tr.dataset.outcome = event.outcome === 'ok' ? 'ok' : event.outcome === 'unheard' ? 'unheard' : 'failed';
  return tr;
}
