//! The nodes of the realm, as the asked node knows them.

use serde_json::Value;

use super::admin;
use super::table::Listing;
use crate::cli::{Common, Peers};
use crate::exit::Code;
use crate::output::Output;

pub(crate) async fn run(peers: Peers, common: Common, output: Output) -> anyhow::Result<Code> {
    let view = admin::view(&peers.admin, "/api/v1/peers", common.timeout).await?;
    let rows = view.as_array().map(Vec::as_slice).unwrap_or_default();
    let listing = Listing {
        head: ["NODE", "STATE", "PATH", "RTT", "REGION", "SUBSCRIPTIONS", "CLIENTS CONNECT TO"],
        nothing: "no other node is known here",
    };
    listing.print(output, rows, |row| *row, |row| line(row))?;
    Ok(Code::Ok)
}

fn line(row: &Value) -> [String; 7] {
    let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
    let rtt = row["rtt_us"].as_u64().map_or_else(|| "-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1000.0));
    let client = row["client"].as_array().map(Vec::as_slice).unwrap_or_default();
    let client = client.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
    let interest = row["patterns"].as_u64().unwrap_or(0).to_string();
    [text("node"), text("state"), text("path"), rtt, text("region"), interest, client]
}
