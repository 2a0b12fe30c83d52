//! Who reports health, and what happens when they stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sinew_observe::{Health, Registry, Scope, Turn, encode};

fn failing(health: &Health, scope: Scope) -> Vec<String> {
    health.report(scope).failing.into_iter().map(|row| format!("{}: {}", row.check, row.reason)).collect()
}

#[test]
fn a_check_fails_until_its_owner_reports_and_when_it_is_gone() {
    let health = Health::new();
    let check = health.check("listeners", Scope::Ready);
    assert_eq!(failing(&health, Scope::Ready), ["listeners: has not reported yet"]);
    check.pass();
    assert!(health.report(Scope::Ready).ok);
    check.fail("port lost");
    assert_eq!(failing(&health, Scope::Ready), ["listeners: port lost"]);
    check.pass();
    drop(check);
    assert_eq!(failing(&health, Scope::Ready), ["listeners: its task has ended"]);
}

#[test]
fn readiness_includes_liveness_but_not_the_other_way_round() {
    let health = Health::new();
    let ready = health.check("draining", Scope::Ready);
    assert!(health.report(Scope::Live).ok);
    ready.pass();
    let live = health.check("runtime", Scope::Live);
    assert!(!health.report(Scope::Live).ok);
    assert!(!health.report(Scope::Ready).ok);
    live.pass();
    assert_eq!(health.report(Scope::Ready).passing, ["draining", "runtime"]);
}

#[test]
fn a_report_has_every_check_with_its_time_and_what_turned_is_told_once() {
    let health = Health::new();
    let check = health.check("clock", Scope::Ready);
    assert_eq!(health.turns(), [], "it has not reported");
    check.pass();
    assert_eq!(health.turns(), [], "what passes from the start is no news");
    check.fail("it jumped");
    let turn = |reason: Option<&'static str>| Turn { check: "clock".into(), reason: reason.map(Into::into) };
    assert_eq!(health.turns(), [turn(Some("it jumped"))]);
    assert_eq!(health.turns(), []);
    let report = serde_json::to_value(health.report(Scope::Ready)).expect("is JSON");
    assert_eq!(report["checks"][0]["reason"], "it jumped");
    assert_eq!(report["checks"][0]["ok"], false);
    check.pass();
    assert_eq!(health.turns(), [turn(None)]);
    let report = serde_json::to_value(health.report(Scope::Ready)).expect("is JSON");
    assert!(report["checks"][0]["for_seconds"].is_f64() && report["checks"][0]["reason"].is_null(), "{report}");
}

#[test]
fn each_check_is_a_row_of_the_metric() {
    let (health, mut registry) = (Health::new(), Registry::default());
    health.export(&mut registry);
    let (red, green) = (health.check("red", Scope::Live), health.check("green", Scope::Ready));
    green.pass();
    let text = encode(&registry);
    assert!(text.contains("sinew_health{check=\"red\"} 0\n"), "{text}");
    assert!(text.contains("sinew_health{check=\"green\"} 1\n"), "{text}");
    drop(red);
}

#[test]
fn a_heart_that_stops_is_noticed() {
    let health = Health::new();
    let heart = health.heartbeat("accept", Scope::Live, Duration::from_millis(5));
    assert!(!health.report(Scope::Live).ok);
    heart.beat();
    // A slow machine may need more than the silence to get here; a beat right before has to pass once.
    while !health.report(Scope::Live).ok {
        heart.beat();
    }
    while health.report(Scope::Live).ok {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(failing(&health, Scope::Live), ["accept: no sign of life for more than 5 ms"]);
    drop(heart);
    assert_eq!(failing(&health, Scope::Live), ["accept: its task has ended"]);
}

#[test]
fn a_probe_is_asked_every_time_and_knows_since_when_it_fails() {
    let health = Health::new();
    let full = Arc::new(AtomicBool::new(false));
    let probed = Arc::clone(&full);
    health.probe("queue memory", Scope::Ready, move || {
        if probed.load(Ordering::Relaxed) { Err("91 % in use".to_owned()) } else { Ok(()) }
    });
    assert!(health.report(Scope::Ready).ok);
    full.store(true, Ordering::Relaxed);
    assert_eq!(failing(&health, Scope::Ready), ["queue memory: 91 % in use"]);
    let first = health.report(Scope::Ready).failing.remove(0).for_seconds;
    let second = health.report(Scope::Ready).failing.remove(0).for_seconds;
    assert!(second > first, "the clock must not start anew: {first} {second}");
    full.store(false, Ordering::Relaxed);
    assert!(health.report(Scope::Ready).ok);
}
