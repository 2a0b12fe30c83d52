// Auto, light, dark. Auto is the system's.

import { byId, say } from './dom.js';

const THEMES = ['auto', 'light', 'dark'];
const KEY = 'sinew-theme';

/** `next()` goes to the next theme; `onChange` is called whenever the colours may have changed. */
export function makeTheme(onChange) {
  const root = document.documentElement;
  const button = byId('theme');
  const label = () => say(button, `Theme: ${root.dataset.theme ?? 'auto'}`);
  const next = () => {
    const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? 'auto') + 1) % THEMES.length];
    if (theme === 'auto') delete root.dataset.theme;
    else root.dataset.theme = theme;
    remember(KEY, theme);
    label();
    onChange();
  };
  button.addEventListener('click', next);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onChange);
  label();
  return next;
}

/** Keeps a choice; without storage it lasts as long as the page. */
export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is off.
  }
}

export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
