//! `sinew`: the node and its command line.

mod cli;
mod commands;
mod exit;
mod logging;
mod memory;
mod output;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::output::Output;

fn main() -> ExitCode {
    memory::use_small_pages();
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let output = Output::new(&cli.common);
    match commands::run(cli, &matches, output) {
        Ok(code) => code.into(),
        Err(error) => exit::report(&error, output),
    }
}
