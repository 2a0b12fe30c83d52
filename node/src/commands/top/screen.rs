//! The terminal: taken, drawn on, and given back however the program ends.

use std::io;

use ratatui::DefaultTerminal;

use super::draw::{Theme, draw};
use super::model::Model;

/// The whole terminal. It is as it was before when this is dropped, and in a panic.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    theme: Theme,
}

impl Screen {
    /// Takes the terminal: raw mode, the alternate screen, and a panic hook that gives both back.
    pub(super) fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ok(Self { terminal, theme: Theme { color: !no_color } })
    }

    /// Shows the model; asks for the size anew each time.
    pub(super) fn show(&mut self, model: &mut Model) -> io::Result<()> {
        let theme = self.theme;
        self.terminal.draw(|frame| draw(frame, model, theme))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody may be there to see it any more.
        let _ = ratatui::try_restore();
    }
}
