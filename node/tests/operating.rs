//! What watches over a node: `sinew check` and `sinew doctor` on good and on bad nodes, and the files of
//! `docs/operating` beside what a node really exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use sinew_tests::{Cluster, Finished, Node, Running, signal, sinew};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

fn docs(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path)
}

async fn check(node: &Node, flags: &[&str]) -> Result<Finished> {
    let admin = node.admin_address()?.to_string();
    sinew(&[&["check", "--admin", &admin, "--window", "50ms"], flags].concat()).await
}

/// A node that was told of another one where nobody is.
async fn lonely() -> Result<Node> {
    Node::start(&["--mesh", "/ip4/127.0.0.1/tcp/0", "--bootstrap", "/ip4/127.0.0.1/tcp/9"]).await
}

#[tokio::test]
async fn a_good_node_is_ok_and_a_bad_one_is_not() -> Result<()> {
    let node = Node::start(&[]).await?;
    let good = check(&node, &[]).await?;
    assert_eq!(good.code, Some(0), "{} {}", good.stdout, good.stderr);
    ensure!(good.stdout.starts_with("SINEW OK: ready; 0 other nodes are up; "), "{}", good.stdout);
    ensure!(good.stdout.contains(" | peers=0;; queue_memory_bytes=0%;70;90 "), "{}", good.stdout);
    assert_eq!(good.stdout.lines().count(), 1);

    let few = check(&node, &["--min-peers", "1", "--json"]).await?;
    assert_eq!(few.code, Some(2), "{}", few.stdout);
    assert_eq!((&few.json()?[0]["state"], &few.json()?[0]["code"]), (&json!("critical"), &json!(2)));

    let lonely = check(&lonely().await?, &[]).await?;
    assert_eq!(lonely.code, Some(2), "{}", lonely.stdout);
    ensure!(lonely.stdout.starts_with("SINEW CRITICAL: not ready: overlay: no bootstrap address"), "{}", lonely.stdout);

    let admin = node.admin_address()?.to_string();
    node.terminate().await?;
    let gone = sinew(&["check", "--admin", &admin]).await?;
    assert_eq!(gone.code, Some(2), "{}", gone.stdout);
    ensure!(gone.stdout.starts_with("SINEW CRITICAL: "), "{}", gone.stdout);
    Ok(())
}

#[tokio::test]
async fn who_is_no_node_is_unknown() -> Result<()> {
    let stranger = TcpListener::bind("127.0.0.1:0").await?;
    let admin = stranger.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = stranger.accept().await {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    let unknown = sinew(&["check", "--admin", &admin]).await?;
    assert_eq!(unknown.code, Some(3), "{}", unknown.stdout);
    ensure!(unknown.stdout.starts_with("SINEW UNKNOWN: "), "{}", unknown.stdout);
    Ok(())
}

#[tokio::test]
async fn drops_are_seen_while_they_happen() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let mut slow = Running::start(&["sub", "d", "--settle", "--buffer", "16", "--server", &server])?;
    slow.ready().await?;
    signal(slow.pid(), Signal::STOP)?;
    let flood = ["pub", "d", "x", "--count", "10000000", "--server", &server];
    let flood = Running::start(&flood)?;
    node.metric_becomes("sinew_dropped_total{reason=\"queue_full\"}", |dropped| dropped > 0.0).await?;
    let found = check(&node, &["--drops-warning", "0", "--drops-critical", "1000000000"]).await?;
    assert_eq!(found.code, Some(1), "{}", found.stdout);
    ensure!(found.stdout.starts_with("SINEW WARNING: ") && found.stdout.contains("queue_full)"), "{}", found.stdout);
    let worse = check(&node, &["--drops-critical", "1"]).await?;
    assert_eq!(worse.code, Some(2), "{}", worse.stdout);
    drop((slow, flood));
    Ok(())
}

/// The verdicts of the doctor, by what was looked at.
fn verdicts(run: &Finished) -> Result<BTreeMap<String, Vec<String>>> {
    let mut verdicts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in run.json()? {
        let text =
            |key: &str| Ok::<_, anyhow::Error>(line[key].as_str().with_context(|| format!("{line}"))?.to_owned());
        ensure!(line["verdict"] != "failed" || line["mend"].is_string(), "{line} has no mend");
        verdicts.entry(text("check")?).or_default().push(text("verdict")?);
    }
    Ok(verdicts)
}

async fn doctor(node: &Node, flags: &[&str]) -> Result<Finished> {
    let admin = node.admin_address()?.to_string();
    sinew(&[&["doctor", "--admin", &admin, "--json"], flags].concat()).await
}

#[tokio::test]
async fn the_doctor_finds_nothing_at_a_good_node() -> Result<()> {
    let cluster = Cluster::joined(2, &[]).await?;
    let run = doctor(&cluster.nodes[0], &[]).await?;
    let found = verdicts(&run)?;
    assert_eq!(found["node"], ["passed"], "{}", run.stdout);
    assert_eq!(found["listener"], ["passed"; 3], "quic, tls, unix: {}", run.stdout);
    assert_eq!(found["mesh listener"], ["passed"; 2], "quic and tcp: {}", run.stdout);
    assert_eq!(found["peer"], ["passed"], "{}", run.stdout);
    assert_eq!(found["discovery"], ["passed"], "{}", run.stdout);
    ensure!(["passed", "unknown"].contains(&found["nat"][0].as_str()), "{}", run.stdout);
    // These depend on the host.
    let host = ["udp buffers", "open files"].iter().any(|check| found[*check] == ["failed"]);
    assert_eq!(run.code, Some(i32::from(host)), "{}", run.stdout);
    Ok(())
}

#[tokio::test]
async fn the_doctor_names_what_is_wrong() -> Result<()> {
    // Another node that is dead and not known to be yet.
    let mut cluster = Cluster::joined(2, &[]).await?;
    let dead = cluster.nodes.pop().context("two nodes")?;
    let _launch = dead.kill().await?;
    let run = doctor(&cluster.nodes[0], &["--set", "limits.max_clients=4000000000"]).await?;
    let found = verdicts(&run)?;
    assert_eq!((run.code, &found["peer"][..]), (Some(1), &["failed".to_owned()][..]), "{}", run.stdout);
    assert_eq!(found["open files"], ["failed"], "{}", run.stdout);

    // Nobody where the bootstrap address leads.
    let node = lonely().await?;
    let bootstrap = ["--mesh", "/ip4/127.0.0.1/tcp/0", "--bootstrap", "/ip4/127.0.0.1/tcp/9"];
    let run = doctor(&node, &bootstrap).await?;
    let found = verdicts(&run)?;
    assert_eq!((&found["node"][0][..], &found["discovery"][0][..]), ("failed", "failed"), "{}", run.stdout);
    assert_eq!(run.code, Some(1));

    // No node at all.
    let (admin, listen) = (node.admin_address()?.to_string(), node.url("quic"));
    let tls = node.url("tls");
    node.terminate().await?;
    let run = sinew(&["doctor", "--admin", &admin, "--listen", &listen, "--listen", &tls, "--mesh", "off"]).await?;
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    ensure!(run.stdout.contains("FAILED   node           no node answers"), "{}", run.stdout);
    assert_eq!(run.stdout.matches("FAILED   listener").count(), 2, "{}", run.stdout);
    assert_eq!(sinew(&["doctor", "--config", "/nowhere/sinew.toml"]).await?.code, Some(2));
    Ok(())
}

#[tokio::test]
async fn manual_pages_are_written_for_every_command() -> Result<()> {
    let page = sinew(&["man"]).await?;
    ensure!(page.code == Some(0) && page.stdout.contains(".TH sinew 1"), "{}", page.stdout);
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("man1");
    let written = sinew(&["man", "--dir", path.to_str().context("a plain path")?]).await?;
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    for page in ["sinew.1", "sinew-up.1", "sinew-bench-pub.1", "sinew-config-check.1"] {
        ensure!(std::fs::read_to_string(path.join(page))?.contains(".SH"), "{page}");
    }
    let taken = dir.path().join("file");
    std::fs::write(&taken, "")?;
    assert_eq!(sinew(&["man", "--dir", taken.to_str().context("a plain path")?]).await?.code, Some(1));
    Ok(())
}

#[tokio::test]
async fn a_node_would_start_with_each_example() -> Result<()> {
    let mut examples = 0;
    for entry in std::fs::read_dir(docs("operating/examples"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let checked = sinew(&["config", "check", "--config", path.to_str().context("a plain path")?]).await?;
            assert_eq!(checked.code, Some(0), "{}: {}", path.display(), checked.stderr);
            examples += 1;
        }
    }
    ensure!(examples >= 3, "only {examples} examples");
    Ok(())
}

/// The samples of a page `/metrics`: for each name the values of each label.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn exported(page: &str) -> Exported {
    let mut exported = Exported::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        // Values of labels may have blanks.
        let (name, labels) = match line.split_once('{') {
            Some((name, rest)) => (name, rest.rsplit_once('}').map_or("", |(labels, _)| labels)),
            None => (line.split_once(' ').map_or(line, |(name, _)| name), ""),
        };
        let row = exported.entry(name.to_owned()).or_default();
        for (label, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
            row.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    exported
}

/// What a text names that is not exported: metrics, and values of labels that nodes give to them.
fn unknown(text: &str, exported: &Exported) -> Vec<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut unknown = Vec::new();
    for (at, _) in text.match_indices("sinew_") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| part(c) || matches!(c, '/' | '-' | '.')) {
            continue;
        }
        let rest = &text[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !part(c)).unwrap_or(rest.len()));
        let Some(labels) = exported.get(name) else {
            unknown.push(name.to_owned());
            continue;
        };
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        for matcher in matchers.split(',') {
            let Some((label, values)) = matcher.split_once(['=', '!']) else { continue };
            // The buckets of a histogram are for the test of a rule to choose.
            let Some(known) = labels.get(label.trim()).filter(|_| label.trim() != "le") else { continue };
            let values = values.trim_start_matches(['=', '~']).trim_matches('"').split('|');
            let strange = values.filter(|value| !known.contains(*value) && !value.starts_with('$'));
            unknown.extend(strange.map(|value| format!("{name}{{{}={value}}}", label.trim())));
        }
    }
    unknown
}

/// Labels that Prometheus gives to a series, beside those of the node.
const GIVEN: [&str; 4] = ["job", "instance", "le", "alertname"];

/// Labels by which an expression selects or sums, and that no node gives.
fn unknown_labels(text: &str, exported: &Exported) -> Vec<String> {
    let known: BTreeSet<&str> = exported.values().flat_map(BTreeMap::keys).map(String::as_str).chain(GIVEN).collect();
    let groups = text.match_indices("by (").filter_map(|(at, by)| text[at + by.len()..].split_once(')'));
    let labels = groups.flat_map(|(inside, _)| inside.split(',')).map(str::trim);
    labels.filter(|label| !known.contains(label)).map(str::to_owned).collect()
}

/// All expressions of a dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("expr").and_then(Value::as_str).map(str::to_owned));
            found.extend(map.get("definition").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| expressions(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn what_is_not_exported_is_found() {
    let exported = exported("# HELP x\nsinew_a_total{reason=\"x\"} 1\nsinew_a_total{reason=\"y\"} 1\nsinew_b{} 2\n");
    for good in [
        "rate(sinew_a_total{reason=~\"x|y\"}[5m])",
        "sinew_b{job=\"any\"} > 1",
        "sinew_a_total{reason!=\"x\", instance=~\"$i\"}",
        "docs/sinew_x",
        "no sinew.rules.yml",
    ] {
        assert_eq!(unknown(good, &exported), Vec::<String>::new(), "{good}");
    }
    assert_eq!(unknown("sinew_a > 0", &exported), ["sinew_a"]);
    assert_eq!(unknown("(sinew_b_total)", &exported), ["sinew_b_total"]);
    assert_eq!(unknown("sinew_a_total{reason=~\"x|z\"}", &exported), ["sinew_a_total{reason=z}"]);
    assert_eq!(unknown_labels("sum by (job, reason, shape) (x)", &exported), ["shape"]);
}

#[tokio::test]
async fn rules_dashboard_and_runbooks_name_only_what_a_node_exports() -> Result<()> {
    // With all that it may have. Nobody has to take the traces.
    let cluster = Cluster::joined(2, &["--set", "trace.otlp=http://127.0.0.1:9"]).await?;
    let exported = exported(&cluster.nodes[0].metrics().await?);
    // Prose calls a histogram by its name, expressions by that of its samples.
    let histograms = exported.keys().filter_map(|name| name.strip_suffix("_bucket")).map(str::to_owned);
    let prose: Exported = exported.clone().into_iter().chain(histograms.map(|name| (name, BTreeMap::new()))).collect();
    let mut texts = Vec::new();
    for path in
        ["operating/prometheus/sinew.rules.yml", "operating/prometheus/sinew.test.yml", "operating.md", "cluster.md"]
    {
        texts.push((path.to_owned(), std::fs::read_to_string(docs(path))?));
    }
    for dir in ["operating", "operating/runbooks"] {
        for entry in std::fs::read_dir(docs(dir))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                texts.push((path.display().to_string(), std::fs::read_to_string(path)?));
            }
        }
    }
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(docs("operating/grafana/sinew.json"))?)?;
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    ensure!(found.len() >= 20, "only {} expressions are found in the dashboard", found.len());
    texts.extend(found.into_iter().map(|expression| ("the dashboard".to_owned(), expression)));
    let named: usize = texts.iter().map(|(_, text)| text.matches("sinew_").count()).sum();
    ensure!(named >= 100, "only {named} names are found: is the right thing read?");
    for (place, text) in &texts {
        // Prose has its parentheses too.
        let strange = match place.ends_with(".md") {
            true => unknown(text, &prose),
            false => [unknown(text, &exported), unknown_labels(text, &exported)].concat(),
        };
        ensure!(strange.is_empty(), "{place} names what a node does not export: {strange:?}");
    }
    Ok(())
}

#[test]
fn every_alert_is_tested_and_has_a_runbook_that_names_it() -> Result<()> {
    let read = |path: &str| std::fs::read_to_string(docs(path)).with_context(|| path.to_owned());
    let (rules, tests) = (read("operating/prometheus/sinew.rules.yml")?, read("operating/prometheus/sinew.test.yml")?);
    let mut alerts = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().context("a name")?;
        // A case ends where the next one begins; in one of them something is expected.
        let mut cases = tests.split("- alertname: ").filter(|case| case.lines().next() == Some(name));
        ensure!(cases.any(|case| case.contains("- exp_labels:")), "{name} fires in no test");
        let runbook =
            rule.split_once("runbook: docs/").and_then(|(_, rest)| rest.lines().next()).context("a runbook")?;
        ensure!(read(runbook)?.contains(name), "{runbook} does not name {name}");
        alerts += 1;
    }
    ensure!(alerts >= 20, "only {alerts} alerts are found");
    Ok(())
}
