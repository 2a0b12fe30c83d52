//! The text a scraper gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sinew_observe::{CloseReason, DropReason, Metrics, Queues, Readings, Registry, encode};
use sinew_wire::call::Status;
use sinew_wire::{Limit, Refusal};

fn rows(text: &str, name: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn contract_names_are_there_from_the_start() {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let queues = Queues::new(&mut registry);
    queues.add("deliver_bytes", 4096, || 7);
    queues.add("handshakes", 16, || 3);
    metrics.cache("plan");
    let text = encode(&registry);
    for name in [
        "sinew_published_total 0",
        "sinew_delivered_total 0",
        "sinew_duplicates_total 0",
        "sinew_bytes_in_total 0",
        "sinew_bytes_out_total 0",
        "sinew_clients 0",
        "sinew_subscriptions 0",
        "sinew_open 0",
        "sinew_retained_evicted_total 0",
        "sinew_queue_depth{queue=\"deliver_bytes\"} 7",
        "sinew_queue_depth{queue=\"handshakes\"} 3",
        "sinew_queue_capacity{queue=\"deliver_bytes\"} 4096",
        "sinew_cache_hits_total{cache=\"plan\"} 0",
        "sinew_cache_misses_total{cache=\"plan\"} 0",
        "sinew_deliver_seconds_count 0",
        "sinew_call_seconds_count 0",
        "sinew_build_info{version=",
        "sinew_start_time_seconds ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing in\n{text}");
    }
    assert_eq!(rows(&text, "sinew_dropped_total{").len(), DropReason::ALL.len());
    assert_eq!(rows(&text, "sinew_calls_total{outcome=").len(), Status::ALL.len());
    assert_eq!(rows(&text, "sinew_links_closed_total{").len(), CloseReason::ALL.len());
    assert_eq!(rows(&text, "sinew_limit_refused_total{").len(), Limit::ALL.len());
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn readings_are_taken_when_somebody_looks() {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let readings = Readings::new(&mut registry);
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    readings.counters("overlay", "What the overlay counts", move || {
        vec![("dials", counter.fetch_add(1, Relaxed)), ("b", 7)]
    });
    readings.gauges("membership", "What the membership holds", || vec![("members", 3)]);
    metrics.pool_closed("idle").inc();
    metrics.pool_closed("lost").inc_by(0);
    assert_eq!(asked.load(Relaxed), 0);
    let text = encode(&registry);
    assert_eq!(asked.load(Relaxed), 1);
    for row in [
        "sinew_overlay_total{count=\"dials\"} 0",
        "sinew_overlay_total{count=\"b\"} 7",
        "sinew_membership{count=\"members\"} 3",
        "sinew_pool_closed_total{reason=\"idle\"} 1",
        "sinew_pool_closed_total{reason=\"lost\"} 0",
        "sinew_pool_opened_total 0",
        "sinew_pool_links 0",
        "sinew_peers 0",
    ] {
        assert!(text.lines().any(|line| line == row), "{row} is missing in\n{text}");
    }
}

#[test]
fn every_row_counts_under_its_own_label() {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    for (n, reason) in DropReason::ALL.into_iter().enumerate() {
        metrics.dropped(reason).inc_by(n as u64 + 1);
    }
    for (n, reason) in CloseReason::ALL.into_iter().enumerate() {
        metrics.link_closed(reason).inc_by(n as u64 + 1);
    }
    for (n, limit) in Limit::ALL.into_iter().enumerate() {
        metrics.limit_refused(limit).inc_by(n as u64 + 1);
    }
    let text = encode(&registry);
    let has = |row: String| assert!(text.lines().any(|line| line == row), "{row} is missing in\n{text}");
    for (n, reason) in DropReason::ALL.into_iter().enumerate() {
        has(format!("sinew_dropped_total{{reason=\"{reason}\"}} {}", n + 1));
    }
    for (n, reason) in CloseReason::ALL.into_iter().enumerate() {
        has(format!("sinew_links_closed_total{{reason=\"{reason}\"}} {}", n + 1));
    }
    for (n, limit) in Limit::ALL.into_iter().enumerate() {
        has(format!("sinew_limit_refused_total{{limit=\"{limit}\"}} {}", n + 1));
    }
    assert_eq!(metrics.dropped_sum(), (1..=DropReason::ALL.len() as u64).sum::<u64>());
}

#[test]
fn histogram_is_cumulative_and_counts_whole_runs() {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    metrics.deliver_seconds.observe(Duration::from_micros(50), 10);
    metrics.deliver_seconds.observe(Duration::from_micros(51), 5);
    metrics.deliver_seconds.observe(Duration::from_secs(60), 1);
    let text = encode(&registry);
    for row in [
        "sinew_deliver_seconds_bucket{le=\"0.00005\"} 10",
        "sinew_deliver_seconds_bucket{le=\"0.0001\"} 15",
        "sinew_deliver_seconds_bucket{le=\"10.0\"} 15",
        "sinew_deliver_seconds_bucket{le=\"+Inf\"} 16",
        "sinew_deliver_seconds_count 16",
    ] {
        assert!(text.lines().any(|line| line == row), "{row} is missing in\n{text}");
    }
    assert_eq!(metrics.deliver_seconds.count(), 16);
}

#[test]
fn clones_share_the_counters() {
    let metrics = Metrics::new(&mut Registry::default());
    let cache = metrics.cache("plan");
    metrics.clone().cache("plan").hits.inc_by(3);
    metrics.clone().published.inc_by(7);
    assert_eq!(cache.hits.get(), 3);
    assert_eq!(metrics.published.get(), 7);
}

#[test]
fn refusals_have_a_close_reason() {
    let limit = Refusal::Limit { limit: Limit::Clients, allowed: 1 };
    assert_eq!(CloseReason::from(&limit), CloseReason::Limit);
    assert_eq!(CloseReason::from(&Refusal::Closed), CloseReason::Client);
    assert_eq!(CloseReason::from(&Refusal::Protocol(String::new())), CloseReason::Protocol);
}

#[cfg(target_os = "linux")]
#[test]
fn resident_memory_is_measured() {
    let mut registry = Registry::default();
    Metrics::new(&mut registry);
    let row = rows(&encode(&registry), "sinew_process_resident_memory_bytes ").pop().expect("the row is there");
    let bytes: u64 = row.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("the value is a number");
    assert!(bytes > 1 << 20, "{bytes}");
}
