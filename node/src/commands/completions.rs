use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Code;

pub(crate) fn run(shell: Shell) -> anyhow::Result<Code> {
    // Written into memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sinew", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Code::Ok)
}
