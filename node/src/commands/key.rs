use anyhow::bail;
use serde_json::json;
use sinew_link::Identity;

use super::config::node_identity;
use crate::cli;
use crate::cli::Common;
use crate::exit::Code;
use crate::output::Output;

pub(crate) fn run(command: &cli::Key, common: &Common, output: Output) -> anyhow::Result<Code> {
    let path = match &common.identity {
        Some(path) => path.clone(),
        None => node_identity()?,
    };
    let identity = match command {
        cli::Key::New => {
            if path.exists() {
                bail!(
                    "{} exists: an identity is never overwritten; move it away, or name another file",
                    path.display()
                );
            }
            Identity::load_or_create(&path)
        }
        cli::Key::Show => Identity::load(&path),
    };
    let peer = identity?.peer_id().to_string();
    output.result(&json!({ "peer": peer, "file": path }), &peer)?;
    Ok(Code::Ok)
}
