//! Results on stdout, talk on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::cli::Common;

/// How results and talk are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) const fn new(common: &Common) -> Self {
        Self { json: common.json, quiet: common.quiet }
    }

    /// Whether results are JSON.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Whether a progress bar is welcome and can be seen.
    pub(crate) fn shows_progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// One result: `value` with `--json`, `words` without.
    pub(crate) fn result(self, value: &impl Serialize, words: impl fmt::Display) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut stdout, value)?;
            stdout.write_all(b"\n")?;
        } else {
            writeln!(stdout, "{words}")?;
        }
        stdout.flush()
    }

    /// Something worth knowing that is not a result. Nobody may be there to read it.
    pub(crate) fn say(self, words: impl fmt::Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{words}");
        }
    }

    /// What went wrong; said even when quiet.
    pub(crate) fn error(self, words: impl fmt::Display) {
        let _ = writeln!(io::stderr(), "sinew: {words}");
    }
}
