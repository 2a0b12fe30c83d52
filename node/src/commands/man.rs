//! Manual pages, from the definition that the command line is read with.

use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;
use serde_json::json;

use crate::cli::{Cli, Man};
use crate::exit::Code;
use crate::output::Output;

pub(crate) fn run(man: &Man, output: Output) -> anyhow::Result<Code> {
    let Some(dir) = &man.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        io::stdout().write_all(&page)?;
        return Ok(Code::Ok);
    };
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.with_context(|| dir.display().to_string())?;
    output.result(&json!({ "dir": dir }), format_args!("the manual pages are in {}", dir.display()))?;
    Ok(Code::Ok)
}
