//! Topics published through a node lately, and how many listen.

use serde_json::Value;

use super::admin;
use super::table::table;
use crate::cli::{Common, Topics};
use crate::exit::Code;
use crate::output::Output;

pub(crate) async fn run(topics: Topics, common: Common, output: Output) -> anyhow::Result<Code> {
    let view = admin::view(&topics.admin, "/api/v1/topics", common.timeout).await?;
    let rows = view.as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = rows.iter().filter(|row| !topics.unheard || row["matched"].as_u64() == Some(0));
    if output.is_json() {
        for row in shown {
            output.result(row, "")?;
        }
        return Ok(Code::Ok);
    }
    let lines: Vec<_> = shown.map(line).collect();
    if lines.is_empty() {
        output.say(if topics.unheard {
            "every topic published here has listeners"
        } else {
            "nothing was published here"
        });
        return Ok(Code::Ok);
    }
    output.result(&Value::Null, table(["PUBLISHED", "UNHEARD", "LISTENERS", "HERE", "TOPIC"], &lines))?;
    Ok(Code::Ok)
}

fn line(row: &Value) -> [String; 5] {
    let number = |name: &str| row[name].as_u64().unwrap_or(0).to_string();
    let topic = row["topic"].as_str().unwrap_or("-").to_owned();
    [number("published"), number("unheard"), number("matched"), number("matched_here"), topic]
}
