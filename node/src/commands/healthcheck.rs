//! Asks the admin server of a node whether it is ready. Needs no shell and no HTTP client beside the binary, which is
//! what a container's health check wants.

use serde_json::{Value, json};

use super::admin;
use crate::cli::{Common, Healthcheck};
use crate::exit::Code;
use crate::output::Output;

pub(crate) async fn run(check: Healthcheck, common: Common, output: Output) -> anyhow::Result<Code> {
    let (status, report) = match admin::get(&check.admin, "/readyz", common.timeout).await {
        Ok(answer) => answer,
        Err(error) => {
            output.error(format_args!("{error:#}"));
            // Docker gives other codes than 0 and 1 no meaning.
            return Ok(Code::Failure);
        }
    };
    let ready = status == 200;
    let words = if ready { "ready".to_owned() } else { format!("not ready: {}", failing(&report)) };
    output.result(&json!({ "ready": ready, "status": status, "report": report }), words)?;
    Ok(if ready { Code::Ok } else { Code::Failure })
}

/// The failing checks in words.
pub(super) fn failing(report: &Value) -> String {
    let rows = report["failing"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words =
        |row: &Value| format!("{}: {}", row["check"].as_str().unwrap_or("?"), row["reason"].as_str().unwrap_or("?"));
    rows.iter().map(words).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_put_into_words() {
        let report = json!({ "failing": [{ "check": "serving", "reason": "draining" }, { "check": "x" }] });
        assert_eq!(failing(&report), "serving: draining; x: ?");
        assert_eq!(failing(&json!({})), "");
    }
}
