// Figures as people read them. `–` stands for what is not known.

const NONE = '–';
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** An exact count. */
export const count = (value) => (known(value) ? whole.format(value) : NONE);

/** A rate: one decimal below 100, none above, millions shortened. */
export function rate(value) {
  if (!known(value)) return NONE;
  if (value === 0) return '0';
  if (value < 0.05) return '<0.1';
  if (value < 99.95) return tenth.format(value);
  return value < 999_999.5 ? whole.format(value) : `${(value / 1e6).toFixed(2)} M`;
}

/** Microseconds, in the unit that fits, with three figures. */
export function latency(us) {
  if (!known(us)) return NONE;
  if (us < 999.5) return `${Math.round(us)} µs`;
  if (us < 999_500) return `${(us / 1e3).toPrecision(3)} ms`;
  return `${whole.format(us / 1e6) === '1' ? (us / 1e6).toPrecision(3) : tenth.format(us / 1e6)} s`;
}

/** A share between 0 and 1. Never rounded up to all: 100 % means that nothing failed. */
export function percent(share) {
  if (!known(share)) return NONE;
  if (share >= 1) return '100 %';
  return `${(Math.floor(share * 1e4) / 100).toFixed(2)} %`;
}

export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toPrecision(3)} ${units[unit]}`;
}

/** Seconds as days, hours, minutes: the two largest. */
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const parts = [
    [Math.floor(seconds / 86400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [Math.floor(seconds) % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0 s';
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([n, unit]) => `${n} ${unit}`)
    .join(' ');
}

/** Time of day with milliseconds, in the browser's zone. */
export function time(ms) {
  if (!known(ms)) return NONE;
  return `${clock.format(ms)}.${String(Math.floor(ms % 1000)).padStart(3, '0')}`;
}

/** The end of a node's identity: all of them begin alike. */
export function short(peer) {
  if (!peer) return NONE;
  return peer.length > 10 ? `…${peer.slice(-6)}` : peer;
}

/** How full, from 0 to 1. */
export const share = (depth, capacity) => (known(depth) && capacity > 0 ? depth / capacity : 0);
