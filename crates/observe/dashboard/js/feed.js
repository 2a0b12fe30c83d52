// The frames of the node asked, over server-sent events; and what is known of the connection.

const URL = '/api/v1/live';
/** Frames come every half second. */
const STALE_MS = 2500;
/** A connection this silent is given up for a new one. */
const DEAD_MS = 10_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8000;
/** A page nobody sees keeps the node busy no longer than this; browsers also allow few connections to one address. */
const UNSEEN_MS = 60_000;

/**
 * Calls `onFrame(frame)` for each frame and `onState(state, detail)` for each change: `connecting`, `live`, `stale`,
 * `offline`, `full` (too many viewers), `token` (not allowed), `unseen`, `version`.
 */
export function follow(onFrame, onState) {
  let source = null;
  let heard = 0;
  let retry = FIRST_RETRY_MS;
  let timer = 0;
  let state = '';

  const enter = (next, detail = '') => {
    if (next === state && next !== 'stale') return;
    state = next;
    onState(next, detail);
  };

  const close = () => {
    source?.close();
    source = null;
    clearTimeout(timer);
  };

  const again = (after = retry) => {
    retry = Math.min(retry * 2, LAST_RETRY_MS);
    timer = setTimeout(open, after);
  };

  const failed = async () => {
    close();
    const status = await why();
    if (status === 401 || status === 403) enter('token');
    else if (status === 503) enter('full');
    else enter('offline');
    if (!document.hidden || state !== 'unseen') again();
  };

  function open() {
    close();
    heard = performance.now();
    if (state === '' || state === 'unseen') enter('connecting');
    source = new EventSource(URL);
    source.onerror = failed;
    source.addEventListener('frame', (event) => {
      heard = performance.now();
      retry = FIRST_RETRY_MS;
      const frame = JSON.parse(event.data);
      if (frame.v !== 1) return enter('version', String(frame.v));
      enter('live');
      onFrame(frame);
    });
  }

  setInterval(() => {
    if (!source) return;
    const silent = performance.now() - heard;
    if (silent > DEAD_MS) open();
    else if (silent > STALE_MS && state === 'live') enter('stale');
  }, 500);
  watchSight(
    () => {
      close();
      enter('unseen');
    },
    () => {
      if (state === 'unseen') open();
    },
  );
  open();
}

/** `EventSource` does not tell why it was refused: ask once more, for the status alone. 0: nobody answered. */
async function why() {
  const stop = new AbortController();
  const limit = setTimeout(() => stop.abort(), 3000);
  try {
    return (await fetch(URL, { signal: stop.signal, headers: { accept: 'text/event-stream' } })).status;
  } catch {
    return 0;
  } finally {
    clearTimeout(limit);
    stop.abort();
  }
}

function watchSight(gone, back) {
  let timer = 0;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(gone, UNSEEN_MS);
    else back();
  });
}
