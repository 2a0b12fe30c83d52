// What the charts show: the last five minutes, in columns of a fixed length.

export const SPAN_S = 300;
/** Frames of five minutes, and a gap now and then. */
const ROWS = 640;
/** Seconds without a frame after which a line is broken. */
const GAP_S = 3;

export const WINDOWS = ['1', '10', '60'];

/** Less than a microsecond has no place on a logarithmic axis. */
const positive = (us) => (Number.isFinite(us) ? Math.max(us, 1) : null);

/** Columns, oldest first: `time` in seconds, and for each window those of the two charts. */
export class History {
  time = [];
  delivered = [];
  windows = Object.fromEntries(WINDOWS.map((secs) => [secs, { events: [], messages: [], p50: [], p95: [], p99: [] }]));

  get #columns() {
    return [this.time, this.delivered, ...Object.values(this.windows).flatMap(Object.values)];
  }

  /** Takes a frame. A clock that was set back begins anew: the charts' time only goes on. */
  add(frame) {
    const at = frame.time_ms / 1000;
    const last = this.time.at(-1);
    if (last !== undefined && at <= last) {
      if (last - at < 1) return;
      for (const column of this.#columns) column.length = 0;
    } else if (last !== undefined && at - last > GAP_S) {
      this.#row(last + 0.001, null, () => null);
    }
    let delivered = 0;
    for (const node of frame.nodes ?? []) if (node.state !== 'lost') delivered += node.rates?.delivered ?? 0;
    this.#row(at, delivered, (secs) => frame.windows?.[secs] ?? null);
    this.#forget(at - SPAN_S - 5);
  }

  #row(at, delivered, windowOf) {
    this.time.push(at);
    this.delivered.push(delivered);
    for (const secs of WINDOWS) {
      const columns = this.windows[secs];
      const from = windowOf(secs);
      columns.events.push(from?.rate ?? null);
      columns.messages.push(from?.message_rate ?? null);
      columns.p50.push(positive(from?.p50_us));
      columns.p95.push(positive(from?.p95_us));
      columns.p99.push(positive(from?.p99_us));
    }
  }

  #forget(before) {
    let old = Math.max(0, this.time.length - ROWS);
    while (this.time[old] < before) old += 1;
    if (old > 0) for (const column of this.#columns) column.splice(0, old);
  }
}
