//! One look, for scripts and for pipes.

use std::time::Duration;

use anyhow::Context;
use sinew_live::Frame;
use tokio::time::timeout;

use super::draw::{figures, warnings};
use super::feed::read;
use super::views::{Span, View};
use crate::cli::Admin;
use crate::commands::admin::Live;
use crate::exit::{Code, failure};
use crate::output::Output;

/// Prints the first frame that holds rates: as a table, or as it came.
pub(super) async fn run(admin: &Admin, limit: Duration, output: Output) -> anyhow::Result<Code> {
    let mut live = Live::connect(admin, limit).await?;
    // The node may have had no viewer: rates begin with us. They take a second, and the limit is for the answer.
    let wait = limit + Duration::from_secs(2);
    let (json, frame) = match timeout(wait, with_rates(&mut live)).await {
        Ok(found) => found.with_context(|| admin.admin.clone())?,
        Err(_) => return Err(failure(Code::TimedOut, format!("{}: no frame with rates within {wait:?}", admin.admin))),
    };
    if output.is_json() {
        // On one line, whatever the node made of it, and with what this program does not know.
        output.result(&serde_json::from_str::<serde_json::Value>(&json)?, "")?;
    } else {
        output.result(&(), lines(&frame).join("\n"))?;
    }
    Ok(Code::Ok)
}

/// The first frame after the first one that covers a whole second.
async fn with_rates(live: &mut Live) -> anyhow::Result<(String, Frame)> {
    let mut frames = 0;
    while let Some(json) = live.next().await? {
        let frame = read(&json)?;
        frames += 1;
        if frames > 1 && frame.windows.one.secs > 0 {
            return Ok((json, frame));
        }
    }
    Err(failure(Code::CannotConnect, "the node ended the connection"))
}

/// What is worth a line, and the tables that have rows.
fn lines(frame: &Frame) -> Vec<String> {
    let span = if frame.windows.ten.secs > frame.windows.one.secs { Span::Ten } else { Span::One };
    let mut lines = vec![
        format!("realm {}, seen by {}", super::words::clean(&frame.realm), super::words::short(&frame.node)),
        figures(frame, span),
    ];
    lines.extend(warnings(frame));
    let views = [View::Nodes, View::Topics, View::Procedures, View::Clients, View::Queues];
    for table in views.into_iter().flat_map(|view| view.tables(frame, &[], span)) {
        if !table.rows.is_empty() {
            lines.push(String::new());
            lines.push(table.title.clone());
            lines.extend(table.lines());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_look_has_every_table_with_rows() {
        let text = lines(&fixtures::frame()).join("\n");
        for part in [
            "realm default, seen by node-one",
            "node lost: e-three!",
            "Nodes\nNODE",
            "e-three!  eu      lost",
            "sensors.kitchen.temp",
            "math.square",
            "Slow subscribers\n",
            "a \u{fffd}[31mpump",
            "queue_full",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
        let mut quiet = fixtures::frame();
        quiet.nodes.clear();
        assert!(!lines(&quiet).join("\n").contains("Slow"), "no table without rows");
    }
}
