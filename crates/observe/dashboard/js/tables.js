// Tables that are sorted by their headings and renewed in place.

import { Keyed, el, say, set } from './dom.js';

const OTHER = '(other)';

/**
 * A table in `place`. A column is `{ label, value(row), text(row), num, wide, cell(td, row) }`: `value` sorts, `text`
 * is shown (or `cell` shows it); `num` is set right, `wide` is left out where there is little room.
 */
export class Table {
  #rows;
  #head;

  constructor(place, { name, columns, sort = 0, descending = true, empty, limit = 50 }) {
    this.columns = columns;
    this.sort = sort;
    this.descending = descending;
    this.limit = limit;
    this.last = [];
    this.body = el('tbody');
    this.#head = columns.map((column, index) => this.#heading(column, index));
    this.table = el(
      'table',
      {},
      el('caption', { class: 'hidden' }, name),
      el('thead', {}, el('tr', {}, ...this.#head)),
      this.body,
    );
    this.empty = el('p', { class: 'note' }, empty);
    const scroll = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': name }, this.table);
    place.append(scroll, this.empty);
    this.scroll = scroll;
    this.#rows = new Keyed(
      this.body,
      () => this.#row(),
      (tr, row) => this.#fill(tr, row),
    );
    this.#mark();
  }

  /** Shows these rows; each has a `key`. */
  update(rows) {
    this.last = rows;
    const ordered = this.#held() ? this.#asBefore(rows) : this.#sorted(rows);
    this.order = ordered.map((row) => row.key);
    this.#rows.show(ordered.slice(0, this.limit), (row) => row.key);
    this.scroll.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
  }

  /** Rows must not run away from somebody who reads or clicks them. */
  #held() {
    return this.order && (this.body.matches(':hover') || this.body.contains(document.activeElement));
  }

  #asBefore(rows) {
    const place = new Map(this.order.map((key, index) => [key, index]));
    return rows.toSorted((a, b) => (place.get(a.key) ?? Infinity) - (place.get(b.key) ?? Infinity) || 0);
  }

  #sorted(rows) {
    const { value } = this.columns[this.sort];
    const sign = this.descending ? -1 : 1;
    return rows.toSorted((a, b) => {
      if ((a.key === OTHER) !== (b.key === OTHER)) return a.key === OTHER ? 1 : -1;
      return sign * compare(value(a), value(b)) || compare(a.key, b.key);
    });
  }

  #heading(column, index) {
    const button = el('button', { type: 'button' }, column.label);
    button.addEventListener('click', () => {
      this.descending = this.sort === index ? !this.descending : Boolean(column.num);
      this.sort = index;
      this.order = null;
      this.#mark();
      this.update(this.last);
    });
    return el('th', { scope: 'col', class: classes(column) }, button);
  }

  #mark() {
    this.#head.forEach((th, index) => {
      set(th, 'aria-sort', index === this.sort ? (this.descending ? 'descending' : 'ascending') : null);
    });
  }

  #row() {
    return el('tr', {}, ...this.columns.map((column) => el('td', { class: classes(column) })));
  }

  #fill(tr, row) {
    this.columns.forEach((column, index) => {
      const td = tr.children[index];
      if (column.cell) column.cell(td, row);
      else say(td, column.text(row));
      if (column.title) set(td, 'title', column.title(row));
    });
    set(tr, 'data-level', row.level ?? null);
    tr.classList.toggle('other', row.key === OTHER);
  }
}

function classes(column) {
  return [column.num && 'num', column.wide && 'wide', column.name && 'name'].filter(Boolean).join(' ') || null;
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return typeof a === 'string' ? a.localeCompare(b, 'en', { numeric: true }) : a - b;
}
