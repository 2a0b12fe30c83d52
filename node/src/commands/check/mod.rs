//! Asks the admin server of a node how it fares, and answers as the plugins of Nagios do.

mod report;
mod samples;

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use self::report::{Figure, Finding, Report, State};
use self::samples::Samples;
use super::{admin, healthcheck};
use crate::cli::{Check, Common};
use crate::exit::{Code, code_of};
use crate::output::Output;

/// Drops that somebody asked for or that came with an end: no reason to wake anybody up.
const EXPECTED_DROPS: [&str; 4] = ["conflated", "expired", "subscriber_gone", "draining"];

pub(crate) async fn run(check: Check, common: Common, output: Output) -> anyhow::Result<Code> {
    let findings = look(&check, common.timeout).await.unwrap_or_else(|error| vec![unanswered(&error)]);
    let report = Report::new(findings);
    output.result(&report, &report)?;
    Ok(report.state.code())
}

/// A node that can't be asked is as good as none; an answer that is not a node's says nothing about it.
fn unanswered(error: &anyhow::Error) -> Finding {
    let state = match code_of(error) {
        Code::CannotConnect | Code::TimedOut => State::Critical,
        _ => State::Unknown,
    };
    Finding::new("answers", state, format!("{error:#}"))
}

async fn look(check: &Check, limit: Duration) -> anyhow::Result<Vec<Finding>> {
    let (status, readiness) = admin::get(&check.admin, "/readyz", limit).await?;
    let before = admin::page(&check.admin, "/metrics", limit).await?;
    let since = Instant::now();
    tokio::time::sleep(check.window).await;
    let after = admin::page(&check.admin, "/metrics", limit).await?;
    let seconds = since.elapsed().as_secs_f64();
    let pool = admin::view(&check.admin, "/api/v1/pool", limit).await?;
    let (before, after) = (Samples::parse(&before), Samples::parse(&after));
    let mut findings = vec![
        ready(status, &readiness),
        peers(check, &after),
        queues(check, &after),
        drops(check, (&before, &after), seconds),
    ];
    findings.extend(links(check, &pool));
    Ok(findings)
}

fn ready(status: u16, readiness: &Value) -> Finding {
    match (status, readiness["ok"].as_bool()) {
        (200, Some(true)) => Finding::new("ready", State::Ok, "ready"),
        (503, Some(false)) => {
            Finding::new("ready", State::Critical, format!("not ready: {}", healthcheck::failing(readiness)))
        }
        _ => Finding::new("ready", State::Unknown, format!("/readyz answers {status} and says neither yes nor no")),
    }
}

fn peers(check: &Check, samples: &Samples<'_>) -> Finding {
    let Some(value) = samples.value("sinew_peers") else { return missing("peers", "sinew_peers") };
    let critical = (check.min_peers > 0).then(|| f64::from(check.min_peers));
    let figure = Figure { name: "peers".to_owned(), value, unit: "", warning: None, critical, at_least: true };
    let detail = match critical {
        Some(wanted) if figure.state() != State::Ok => format!("{value} other nodes are up, {wanted} are wanted"),
        _ => format!("{value} other nodes are up"),
    };
    Finding { figures: vec![figure], ..Finding::new("peers", State::Ok, detail) }.judged()
}

fn queues(check: &Check, samples: &Samples<'_>) -> Finding {
    let capacities: Vec<_> = samples.rows("sinew_queue_capacity", "queue").collect();
    let percent = |(queue, depth): (&str, f64)| {
        let (_, capacity) = capacities.iter().find(|(name, capacity)| *name == queue && *capacity > 0.0)?;
        Some(Figure {
            name: format!("queue_{queue}"),
            value: depth * 100.0 / capacity,
            unit: "%",
            warning: Some(check.thresholds.queue.warning),
            critical: Some(check.thresholds.queue.critical),
            at_least: false,
        })
    };
    let figures: Vec<_> = samples.rows("sinew_queue_depth", "queue").filter_map(percent).collect();
    let Some(fullest) = figures.iter().max_by(|a, b| a.value.total_cmp(&b.value)) else {
        return missing("queues", "sinew_queue_depth");
    };
    let detail =
        format!("the fullest queue, {}, is {:.0} % full", fullest.name.trim_start_matches("queue_"), fullest.value);
    Finding { figures, ..Finding::new("queues", State::Ok, detail) }.judged()
}

fn drops(check: &Check, (before, after): (&Samples<'_>, &Samples<'_>), seconds: f64) -> Finding {
    let name = "sinew_dropped_total";
    let counted = |samples: &Samples<'_>| -> Vec<(String, f64)> {
        let rows = samples.rows(name, "reason").filter(|(reason, _)| !EXPECTED_DROPS.contains(reason));
        rows.map(|(reason, count)| (reason.to_owned(), count)).collect()
    };
    let (before, after) = (counted(before), counted(after));
    if after.is_empty() {
        return missing("drops", name);
    }
    // A node that has started anew in between counts from 0.
    let risen = |(reason, now): &(String, f64)| {
        let was = before.iter().find(|(other, _)| other == reason).map_or(0.0, |(_, count)| *count);
        let rise = if *now < was { *now } else { now - was };
        (rise > 0.0).then(|| (reason.clone(), rise))
    };
    let risen: Vec<_> = after.iter().filter_map(risen).collect();
    // The sum of nothing is -0.
    let value = risen.iter().fold(0.0, |sum, (_, rise)| sum + rise) / seconds;
    let (warning, critical) = (Some(check.thresholds.drops.warning), Some(check.thresholds.drops.critical));
    let figure = Figure { name: "drops_per_s".to_owned(), value, unit: "", warning, critical, at_least: false };
    let reasons = risen.iter().map(|(reason, rise)| format!("{rise} {reason}")).collect::<Vec<_>>().join(", ");
    let detail = if risen.is_empty() { "no drops".to_owned() } else { format!("{value:.1} drops/s ({reasons})") };
    Finding { figures: vec![figure], ..Finding::new("drops", State::Ok, detail) }.judged()
}

/// A node that stays alone has no links to others.
fn links(check: &Check, pool: &Value) -> Option<Finding> {
    let (links, max) = (pool["links"].as_f64()?, pool["max"].as_f64().filter(|max| *max > 0.0)?);
    let figure = Figure {
        name: "pool".to_owned(),
        value: links * 100.0 / max,
        unit: "%",
        warning: Some(check.thresholds.pool.warning),
        critical: Some(check.thresholds.pool.critical),
        at_least: false,
    };
    let detail = format!("{links} of {max} links to other nodes");
    Some(Finding { figures: vec![figure], ..Finding::new("pool", State::Ok, detail) }.judged())
}

fn missing(check: &'static str, metric: &str) -> Finding {
    Finding::new(check, State::Unknown, format!("/metrics has no {metric}"))
}

impl Finding {
    /// With the state of its worst figure.
    fn judged(mut self) -> Self {
        self.state = self.figures.iter().map(Figure::state).max().unwrap_or(State::Unknown);
        self
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};

    fn check(flags: &str) -> Check {
        let line = format!("sinew check {flags}");
        match Cli::try_parse_from(line.split_whitespace()).expect("is a command line").command {
            Command::Check(check) => check,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn readiness_is_what_the_node_says() {
        let red = json!({ "ok": false, "failing": [{ "check": "overlay", "reason": "alone" }] });
        assert_eq!(ready(503, &red).detail, "not ready: overlay: alone");
        let states = [ready(200, &json!({ "ok": true })), ready(503, &red), ready(404, &json!({})), ready(200, &red)];
        assert_eq!(states.map(|finding| finding.state), [State::Ok, State::Critical, State::Unknown, State::Unknown]);
    }

    #[test]
    fn too_few_peers_are_critical_only_when_some_are_wanted() {
        let samples = Samples::parse("sinew_peers 2");
        let state = |flags| peers(&check(flags), &samples).state;
        assert_eq!(
            [state(""), state("--min-peers 2"), state("--min-peers 3")],
            [State::Ok, State::Ok, State::Critical]
        );
        assert_eq!(peers(&check(""), &Samples::parse("other 2")).state, State::Unknown);
    }

    #[test]
    fn the_fullest_queue_counts() {
        let page = |depth: u32| {
            format!(
                "sinew_queue_depth{{queue=\"a\"}} 0\nsinew_queue_depth{{queue=\"b\"}} {depth}\n\
                 sinew_queue_capacity{{queue=\"a\"}} 10\nsinew_queue_capacity{{queue=\"b\"}} 1000\n"
            )
        };
        let state = |depth| queues(&check(""), &Samples::parse(&page(depth))).state;
        assert_eq!([state(700), state(701), state(901)], [State::Ok, State::Warning, State::Critical]);
        assert_eq!(queues(&check(""), &Samples::parse(&page(900))).detail, "the fullest queue, b, is 90 % full");
        assert_eq!(queues(&check(""), &Samples::default()).state, State::Unknown);
    }

    #[test]
    fn drops_are_those_of_the_window_that_nobody_asked_for() {
        let page = |full: u32, conflated: u32| {
            format!(
                "sinew_dropped_total{{reason=\"queue_full\"}} {full}\n\
                 sinew_dropped_total{{reason=\"conflated\"}} {conflated}\n"
            )
        };
        let found =
            |before: &str, after: &str| drops(&check(""), (&Samples::parse(before), &Samples::parse(after)), 2.0);
        let none = found(&page(5, 0), &page(5, 900));
        assert_eq!((none.detail.as_str(), none.figures[0].to_string().as_str()), ("no drops", "drops_per_s=0;1;100"));
        let some = found(&page(5, 0), &page(15, 0));
        assert_eq!((some.state, some.detail.as_str()), (State::Warning, "5.0 drops/s (10 queue_full)"));
        assert_eq!(found(&page(5, 0), &page(905, 0)).state, State::Critical);
        assert_eq!(found(&page(500, 0), &page(4, 0)).state, State::Warning, "after a restart");
        assert_eq!(found("", "").state, State::Unknown);
    }

    #[test]
    fn a_pool_near_its_maximum_is_seen() {
        let state = |links| links_state(&json!({ "links": links, "max": 100 }));
        assert_eq!([state(80), state(81), state(96)], [State::Ok, State::Warning, State::Critical].map(Some));
        assert_eq!(links_state(&Value::Null), None);
    }

    fn links_state(pool: &Value) -> Option<State> {
        links(&check(""), pool).map(|finding| finding.state)
    }
}
