//! What a check has found, as a line for monitoring systems and as JSON.

use std::fmt;

use serde::Serialize;

use crate::exit::Code;

/// How bad it is, as plugins of Nagios say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Unknown,
    Warning,
    Critical,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The exit code of which the number is the plugins' one; the names are those of other commands.
    pub(super) const fn code(self) -> Code {
        match self {
            Self::Ok => Code::Ok,
            Self::Warning => Code::Failure,
            Self::Critical => Code::Usage,
            Self::Unknown => Code::TimedOut,
        }
    }
}

/// What one check has found.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) state: State,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) figures: Vec<Figure>,
}

impl Finding {
    /// Without a figure.
    pub(super) fn new(check: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self { check, state, detail: detail.into(), figures: Vec::new() }
    }
}

/// A number, with the last values that are fine and without reproach.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) warning: Option<f64>,
    pub(super) critical: Option<f64>,
    /// Whether less than `critical` is bad, not more.
    pub(super) at_least: bool,
}

impl Figure {
    /// The state of a figure that should be small.
    pub(super) fn state(&self) -> State {
        let beyond = |threshold: Option<f64>| {
            threshold.is_some_and(|last| if self.at_least { self.value < last } else { self.value > last })
        };
        match (beyond(self.critical), beyond(self.warning)) {
            (true, _) => State::Critical,
            (false, true) => State::Warning,
            (false, false) => State::Ok,
        }
    }
}

/// `name=value[unit];warning;critical`, with the ranges of the plugins: `70` is 0 to 70, `3:` is 3 and more.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.at_least { ":" } else { "" };
        let range = |threshold: Option<f64>| threshold.map_or_else(String::new, |last| format!("{last}{colon}"));
        let value = (self.value * 100.0).round() / 100.0;
        write!(f, "{}={value}{};{};{}", self.name, self.unit, range(self.warning), range(self.critical))
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) state: State,
    pub(super) code: u8,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        let state = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Unknown);
        Self { state, code: state.code() as u8, findings }
    }
}

/// The line: what is wrong, or everything if nothing is; then the figures.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.findings.iter().filter(|finding| self.state == State::Ok || finding.state != State::Ok);
        // A bar would begin the figures, and a line break end the line.
        let words = shown.map(|finding| finding.detail.replace(['|', '\n'], " ")).collect::<Vec<_>>();
        write!(f, "SINEW {}: {}", self.state.as_str(), words.join("; "))?;
        let figures = self.findings.iter().flat_map(|finding| &finding.figures).map(ToString::to_string);
        let figures = figures.collect::<Vec<_>>();
        if figures.is_empty() { Ok(()) } else { write!(f, " | {}", figures.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, at_least: bool) -> Figure {
        Figure { name: "f".to_owned(), value, unit: "%", warning: Some(70.0), critical: Some(90.0), at_least }
    }

    #[test]
    fn a_threshold_is_the_last_good_value() {
        let states = [70.0, 70.1, 90.0, 90.1].map(|value| figure(value, false).state());
        assert_eq!(states, [State::Ok, State::Warning, State::Warning, State::Critical]);
        let least = |value| Figure { warning: None, ..figure(value, true) }.state();
        assert_eq!([least(90.0), least(89.0)], [State::Ok, State::Critical]);
    }

    #[test]
    fn the_codes_are_those_of_the_plugins() {
        let codes = [State::Ok, State::Warning, State::Critical, State::Unknown].map(|state| state.code() as u8);
        assert_eq!(codes, [0, 1, 2, 3]);
    }

    #[test]
    fn the_line_has_what_is_wrong_and_all_figures() {
        let good = Finding { figures: vec![figure(1.234, false)], ..Finding::new("a", State::Ok, "good") };
        let bad = Finding { figures: vec![figure(3.0, true)], ..Finding::new("b", State::Warning, "b|d\nly") };
        let report = Report::new(vec![good, bad]);
        assert_eq!(report.to_string(), "SINEW WARNING: b d ly | f=1.23%;70;90 f=3%;70:;90:");
        assert_eq!(Report::new(vec![Finding::new("a", State::Ok, "good")]).to_string(), "SINEW OK: good");
        assert_eq!(Report::new(Vec::new()).state, State::Unknown, "nothing found is not good news");
    }
}
