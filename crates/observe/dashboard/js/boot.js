// Before anything is painted: the theme chosen earlier, so that the page does not flash in the other one.
(() => {
  try {
    const theme = localStorage.getItem('sinew-theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is off: the system's theme it is.
  }
})();
