// Brings the parts together: frames come in, and once for each repaint the newest one is drawn.

import { makeAlarmStrip, watchAlarms } from './alarms.js';
import { makeCharts } from './charts.js';
import { makeDetail } from './detail.js';
import { byId, say } from './dom.js';
import { makeEvents } from './events.js';
import { follow } from './feed.js';
import { makeFigures } from './figures.js';
import { count, short } from './format.js';
import { History, WINDOWS } from './history.js';
import { makeKeys } from './keys.js';
import { makePanels } from './panels.js';
import { makeTheme } from './theme.js';
import { makeTopology } from './topology.js';

const STATES = {
  connecting: 'Connecting',
  live: 'Live',
  stale: 'Stale: no word from the node',
  offline: 'Offline: trying again',
  full: 'This node has as many viewers as it takes: trying again',
  token: 'Not allowed: reload the page to give the token',
  unseen: 'Resting: nobody looked',
  version: 'The node is newer than this page: reload it',
};

const history = new History();
const charts = makeCharts();
const figures = makeFigures();
const panels = makePanels();
const events = makeEvents();
const detail = makeDetail();
const alarmsOf = watchAlarms();
const alarmStrip = makeAlarmStrip();
let frame = null;
let alarms = [];
let looked = null;
let asked = false;
const topology = makeTopology((node) => {
  looked = node;
  repaint();
});

function draw() {
  asked = false;
  if (!frame) return;
  const secs = document.querySelector('input[name=window]:checked').value;
  say(byId('realm'), frame.realm);
  say(byId('asked'), short(frame.node));
  byId('asked').title = frame.node;
  say(byId('viewers'), count(frame.viewers));
  figures(frame, secs);
  topology(frame);
  detail(frame, looked);
  charts.draw(history, secs);
  panels(frame, secs);
  alarmStrip(alarms);
  const critical = alarms.filter((alarm) => alarm.level === 'critical').length;
  document.title = critical > 0 ? `(${critical}) Sinew live view` : 'Sinew live view';
  events.show();
}

function repaint() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(draw);
}

function take(next) {
  frame = next;
  history.add(next);
  alarms = alarmsOf(next);
  events.add(next.sample ?? []);
  repaint();
}

function link(state) {
  byId('link').dataset.state = state;
  say(byId('link-text'), STATES[state]);
  document.body.classList.toggle('old', state !== 'live');
}

function choose(secs) {
  document.querySelector(`input[name=window][value="${secs}"]`).checked = true;
  repaint();
}

const nextTheme = makeTheme(() => charts.restyle());
byId('window').addEventListener('change', repaint);
makeKeys({
  ...Object.fromEntries(WINDOWS.map((secs, index) => [String(index + 1), () => choose(secs)])),
  p: events.toggle,
  t: nextTheme,
  '/': () => byId('filter').focus(),
});
follow(take, link);
