// The two charts, drawn by uPlot (../vendor/uplot, loaded before this module).
/* global uPlot */

import { byId, el, say } from './dom.js';
import { latency, rate } from './format.js';
import { SPAN_S } from './history.js';

/** Seconds that a chart spans, and between the marks of its axis: it grows with what is known, in steps. */
const SPANS = [
  [60, 15],
  [120, 30],
  [SPAN_S, 60],
];
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

const THROUGHPUT = {
  id: 'throughput',
  format: rate,
  scale: { range: (_, __, max) => [0, Math.max(1, (max ?? 0) * 1.1)] },
  series: [
    { label: 'Events', column: 'events' },
    { label: 'Messages', column: 'messages', dash: [6, 3] },
    { label: 'Delivered', column: 'delivered', dash: [2, 3] },
  ],
};

const LATENCY = {
  id: 'latency',
  format: latency,
  // Logarithmic: one slow second must not hide the others, and the median is far below the tail.
  scale: { distr: 3, log: 10, range: decades },
  splits: steps,
  series: [
    { label: 'p50', column: 'p50' },
    { label: 'p95', column: 'p95', dash: [6, 3] },
    { label: 'p99', column: 'p99', dash: [2, 3] },
  ],
};

/** Both charts; `draw(history, window)` for each frame, `restyle()` when the theme changed. */
export function makeCharts() {
  const charts = [THROUGHPUT, LATENCY].map(makeChart);
  return {
    draw: (history, secs) => charts.forEach((chart) => chart.draw(history, secs)),
    restyle: () => charts.forEach((chart) => chart.restyle()),
  };
}

function makeChart(kind) {
  const { id, format, series } = kind;
  const place = byId(id);
  const legend = series.map((one, index) => legendEntry(byId(`${id}-legend`), one.label, index));
  const ink = inks(place, legend);
  const plot = new uPlot(options(place, kind, ink, legend), [[], ...series.map(() => [])], place);
  new ResizeObserver(() => plot.setSize(sizeOf(place))).observe(place);
  return {
    draw(history, secs) {
      const columns = history.windows[secs];
      plot.setData([history.time, ...series.map((one) => columns[one.column] ?? history.delivered)]);
      if (plot.cursor.idx === null || plot.cursor.idx === undefined) showLatest(plot, legend, format);
    },
    restyle() {
      ink.renew();
      plot.redraw(false);
    },
  };
}

function options(place, { format, scale, splits, series }, ink, legend) {
  const axis = { stroke: () => ink.text, font: '11px system-ui, sans-serif', ticks: { show: false } };
  const grid = { stroke: () => ink.line, width: 1 };
  return {
    ...sizeOf(place),
    padding: [8, 26, 0, 0],
    legend: { show: false },
    cursor: { y: false, sync: { key: 'sinew' }, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: (_, min, max) => [(max ?? 0) - spanOf(min, max)[0], max ?? 0] },
      y: scale,
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 26,
        splits: marks,
        values: (_, at) => at.map((s) => clock.format(s * 1000)),
      },
      { ...axis, grid, size: 58, space: 36, splits, filter: (_, at) => at, values: (_, at) => at.map(format) },
    ],
    series: [
      {},
      ...series.map((one, i) => ({
        label: one.label,
        dash: one.dash,
        width: 1.5,
        points: { show: false },
        stroke: () => ink.series[i],
      })),
    ],
    hooks: {
      setCursor: [
        (plot) => {
          const at = plot.cursor.idx;
          if (at === null || at === undefined) showLatest(plot, legend, format);
          else showAt(plot, at, legend, format);
        },
      ],
    },
  };
}

const spanOf = (min, max) => SPANS.find(([span]) => (max ?? 0) - (min ?? 0) <= span) ?? SPANS.at(-1);

/** Whole quarters, halves or minutes. */
function marks(plot, _, from, to) {
  const step = SPANS.find(([span]) => span >= Math.floor(to - from))?.[1] ?? 60;
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

/** From a power of ten to a power of ten. */
function decades(_, min, max) {
  const least = Math.floor(Math.log10(Math.max(1, min ?? 100)));
  const most = Math.ceil(Math.log10(Math.max(1, max ?? 10_000)));
  return [10 ** least, 10 ** Math.max(most, least + 1)];
}

/** Powers of ten; two and five times them where there is room. */
function steps(_, __, from, to) {
  const found = [];
  const between = to / from > 100 ? [1] : [1, 2, 5];
  for (let power = from; power <= to; power *= 10) found.push(...between.map((step) => step * power));
  return found.filter((at) => at <= to);
}

const sizeOf = (place) => ({ width: place.clientWidth, height: Math.max(120, place.clientHeight) });

function legendEntry(list, label, index) {
  const value = el('span', { class: 'value' }, '–');
  const swatch = el('span', { class: `swatch s${index}`, 'aria-hidden': 'true' });
  list.append(el('li', {}, swatch, el('span', {}, label), value));
  return { swatch, value };
}

function showLatest(plot, legend, format) {
  showAt(plot, plot.data[0].length - 1, legend, format);
}

function showAt(plot, at, legend, format) {
  legend.forEach((entry, i) => say(entry.value, format(plot.data[i + 1][at])));
}

/** Colours for the canvas, taken from the style sheet, where both themes are. */
function inks(place, legend) {
  const ink = {
    renew() {
      const style = getComputedStyle(place);
      ink.text = style.color;
      ink.line = style.borderTopColor;
      ink.series = legend.map((entry) => getComputedStyle(entry.swatch).color);
    },
  };
  ink.renew();
  return ink;
}
