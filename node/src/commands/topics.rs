//! Topics published through a node lately, and how many listen.

use serde_json::Value;

use super::admin;
use super::table::Listing;
use crate::cli::{Common, Topics};
use crate::exit::Code;
use crate::output::Output;

pub(crate) async fn run(topics: Topics, common: Common, output: Output) -> anyhow::Result<Code> {
    let view = admin::view(&topics.admin, "/api/v1/topics", common.timeout).await?;
    let rows = view.as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = rows.iter().filter(|row| !topics.unheard || row["matched"].as_u64() == Some(0));
    let listing = Listing {
        head: ["PUBLISHED", "UNHEARD", "LISTENERS", "HERE", "TOPIC"],
        nothing: if topics.unheard { "every topic published here has listeners" } else { "nothing was published here" },
    };
    listing.print(output, shown, |row| *row, |row| line(row))?;
    Ok(Code::Ok)
}

fn line(row: &Value) -> [String; 5] {
    let number = |name: &str| row[name].as_u64().unwrap_or(0).to_string();
    let topic = row["topic"].as_str().unwrap_or("-").to_owned();
    [number("published"), number("unheard"), number("matched"), number("matched_here"), topic]
}
