// Single keys, for those who want them: they can be turned off in the help.

import { byId } from './dom.js';
import { recall, remember } from './theme.js';

const KEY = 'sinew-keys';

/** `actions` by key. Nothing is done while somebody writes. */
export function makeKeys(actions) {
  const on = byId('keys-on');
  on.checked = recall(KEY) !== 'off';
  on.addEventListener('change', () => remember(KEY, on.checked ? 'on' : 'off'));
  const help = byId('help');
  const open = () => help.showModal();
  byId('help-open').addEventListener('click', open);
  document.addEventListener('keydown', (event) => {
    if (!on.checked || help.open || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest?.('input:not([type=radio]), select, textarea')) return;
    const action = event.key === '?' ? open : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
