// What an operator has to know, worst first.

import { Keyed, byId, el, say } from './dom.js';
import { count, percent, share, short } from './format.js';

export const QUEUE_WARNING = 0.5;
export const QUEUE_CRITICAL = 0.9;
const INTAKE_WARNING = 100;
const INTAKE_CRITICAL = 500;
/** How long something that rose is still said to rise. */
const RISING_MS = 10_000;
/** More are said as a number. */
const SHOWN = 12;

/** The level of a queue that is this full. */
export function queueLevel(full) {
  if (full >= QUEUE_CRITICAL) return 'critical';
  return full >= QUEUE_WARNING ? 'warning' : null;
}

/** A function of frames that gives alarms: `{ key, level, text }`. It remembers what rose, and when. */
export function watchAlarms() {
  const risen = new Map();
  /** Whether `total` rose lately; `total` of this key was given with the last frame too. */
  const rises = (key, total, now, seen) => {
    const before = risen.get(key);
    const at = before && total > before.total ? now : (before?.at ?? -Infinity);
    seen.set(key, { total, at });
    return now - at < RISING_MS;
  };
  return (frame) => {
    const now = frame.time_ms;
    const seen = new Map();
    const rising = (key, total) => rises(key, total, now, seen);
    const alarms = [
      ...(frame.nodes ?? []).flatMap((node) => ofNode(node, rising)),
      ...ofIntake(frame.intake ?? {}, rising),
    ];
    risen.clear();
    for (const [key, value] of seen) risen.set(key, value);
    return alarms.sort((a, b) => weight(a) - weight(b));
  };
}

/** Lost nodes before anything else that is critical, that before warnings. */
const weight = ({ level, lost }) => (lost ? 0 : level === 'critical' ? 1 : 2);

function ofNode(node, rising) {
  const name = node.region ? `${node.region} ${short(node.node)}` : short(node.node);
  const key = (what) => `${node.node} ${what}`;
  if (node.state === 'lost') {
    return [{ key: key('lost'), level: 'critical', lost: true, text: `Node ${name} is lost` }];
  }
  const alarms = [];
  if (node.ready === false && node.state === 'up') {
    const failing = (node.failing ?? []).join(', ');
    alarms.push({
      key: key('ready'),
      level: 'critical',
      text: `Node ${name} is not ready${failing && `: ${failing}`}`,
    });
  }
  for (const queue of node.queues ?? []) {
    const full = share(queue.depth, queue.capacity);
    const level = queueLevel(full);
    const text = `Queue ${queue.queue} of ${name} is ${percent(full).replace(/\.\d+/, '')} full`;
    if (level) alarms.push({ key: key(`queue ${queue.queue} ${level}`), level, text });
  }
  const dropped = Object.entries(node.dropped ?? {});
  const reasons = dropped.filter(([reason, total]) => rising(key(`drop ${reason}`), total)).map(([reason]) => reason);
  if (reasons.length > 0) {
    alarms.push({ key: key('drops'), level: 'warning', text: `Node ${name} drops messages: ${reasons.join(', ')}` });
  }
  return alarms;
}

function ofIntake(intake, rising) {
  const alarms = [];
  if (intake.depth >= INTAKE_WARNING) {
    const level = intake.depth >= INTAKE_CRITICAL ? 'critical' : 'warning';
    const text = `This view lags: ${count(intake.depth)} wait in its intake queue`;
    alarms.push({ key: `intake ${level}`, level, text });
  }
  if (rising('intake dropped', intake.dropped ?? 0)) {
    const text = `Events are lost on their way to this view (${count(intake.dropped)} so far): its figures are too low`;
    alarms.push({ key: 'intake dropped', level: 'warning', text });
  }
  if (rising('intake forged', intake.forged ?? 0)) {
    const text = `Somebody who is no node of the realm sends events (${count(intake.forged)} refused)`;
    alarms.push({ key: 'intake forged', level: 'warning', text });
  }
  return alarms;
}

/** The strip of alarms; `show(alarms)`. New ones are said to screen readers once. */
export function makeAlarmStrip() {
  const news = byId('alarm-news');
  const list = new Keyed(
    byId('alarms'),
    () => el('li'),
    (li, alarm) => {
      li.dataset.level = alarm.level;
      say(li, alarm.text);
    },
  );
  let known = new Set();
  return (alarms) => {
    const fresh = alarms.filter((alarm) => !known.has(alarm.key));
    known = new Set(alarms.map((alarm) => alarm.key));
    if (fresh.length > 0)
      say(
        news,
        fresh
          .slice(0, 3)
          .map((alarm) => alarm.text)
          .join('. '),
      );
    const shown = alarms.slice(0, SHOWN);
    if (alarms.length > SHOWN) {
      shown.push({ key: 'more', level: 'critical', text: `and ${alarms.length - SHOWN} more` });
    }
    if (alarms.length === 0) shown.push({ key: 'none', level: 'none', text: 'No alarms' });
    list.show(shown, (alarm) => alarm.key);
  };
}
