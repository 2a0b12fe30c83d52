use serde_json::json;

use crate::exit::Code;
use crate::output::Output;

pub(crate) fn run(output: Output) -> anyhow::Result<Code> {
    let version = env!("CARGO_PKG_VERSION");
    let protocol = sinew_node::PROTOCOL_VERSION;
    let value = json!({ "name": "sinew", "version": version, "protocol": protocol });
    output.result(&value, format_args!("sinew {version} (protocol {protocol})"))?;
    Ok(Code::Ok)
}
