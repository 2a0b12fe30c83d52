//! One line for each thing that was looked at.

use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Passed,
    Failed,
    /// It can't be known from here.
    Unknown,
}

/// What was looked at, and what was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

impl Line {
    pub(super) fn passed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Passed, detail: detail.into(), mend: None }
    }

    pub(super) fn unknown(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Unknown, detail: detail.into(), mend: None }
    }

    pub(super) fn failed(check: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, detail: detail.into(), mend: Some(mend.into()) }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Unknown => "unknown",
        };
        write!(f, "{verdict:<8} {:<14} {}", self.check, self.detail)?;
        match &self.mend {
            Some(mend) => write!(f, "\n{:<23} {mend}", ""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mend_stands_below() {
        let line = Line::failed("listener", "nobody answers", "start it").to_string();
        assert_eq!(line, "FAILED   listener       nobody answers\n                        start it");
    }
}
