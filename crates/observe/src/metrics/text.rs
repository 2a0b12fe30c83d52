//! The older text format, for readers that don't ask for OpenMetrics.

use std::fmt::Write;

/// What a reader gets that asks for nothing else: Prometheus' own text format.
///
/// Source: Prometheus, "Exposition formats", text-based format 0.0.4.
pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The newer format.
///
/// Source: OpenMetrics 1.0.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Turns OpenMetrics text, as our registry writes it, into Prometheus' text format: a counter is named as its samples are, an info
/// is a gauge, and there are neither units nor an end mark.
pub(crate) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    // A help line goes by the type, which comes in the line behind it.
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(name), text) => help = Some((name, text.unwrap_or_default())),
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    _ => ("", kind),
                };
                if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                    writeln!(out, "# HELP {name}{suffix} {text}").expect("a String takes every write");
                }
                writeln!(out, "# TYPE {name}{suffix} {kind}").expect("a String takes every write");
            }
            // A unit, which the name says already, or the end.
            _ => {}
        }
    }
    out
}

/// Whether a reader asks for OpenMetrics, by its `Accept` header: it names it, and not with weight 0.
pub(crate) fn wants_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        is_it && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_gets_the_name_that_its_samples_have() {
        let open = "# HELP sinew_published Messages accepted.\n# TYPE sinew_published counter\nsinew_published_total 3\n\
                    # HELP sinew_build What the node is.\n# TYPE sinew_build info\nsinew_build_info{version=\"1\"} 1\n\
                    # HELP sinew_x_seconds How long.\n# TYPE sinew_x_seconds histogram\n# UNIT sinew_x_seconds seconds\n\
                    sinew_x_seconds_sum 0.5\nsinew_x_seconds_count 1\nsinew_x_seconds_bucket{le=\"+Inf\"} 1\n\
                    # HELP sinew_clients Clients connected.\n# TYPE sinew_clients gauge\nsinew_clients 2\n# EOF\n";
        let text = "# HELP sinew_published_total Messages accepted.\n# TYPE sinew_published_total counter\n\
                    sinew_published_total 3\n\
                    # HELP sinew_build_info What the node is.\n# TYPE sinew_build_info gauge\nsinew_build_info{version=\"1\"} 1\n\
                    # HELP sinew_x_seconds How long.\n# TYPE sinew_x_seconds histogram\n\
                    sinew_x_seconds_sum 0.5\nsinew_x_seconds_count 1\nsinew_x_seconds_bucket{le=\"+Inf\"} 1\n\
                    # HELP sinew_clients Clients connected.\n# TYPE sinew_clients gauge\nsinew_clients 2\n";
        assert_eq!(from_open_metrics(open), text);
        assert_eq!(from_open_metrics("# EOF\n"), "");
    }

    #[test]
    fn a_reader_gets_open_metrics_if_it_asks_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, wanted) in [
            (prometheus, true),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; charset=utf-8", true),
            ("text/plain, application/openmetrics-text;q=0", false),
            ("text/plain;version=0.0.4", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(wants_open_metrics(accept), wanted, "{accept}");
        }
    }
}
