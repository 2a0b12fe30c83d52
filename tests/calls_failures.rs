//! Providers that are killed, and more calls than they can take: each call has one end, and it is true.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sinew_client::{CallError, Client, Executed, Reply};
use sinew_tests::provider::{Manner, Provider};
use sinew_tests::{Cluster, soon};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Not a test: what [`Provider`] starts.
#[tokio::test]
async fn provider_process() -> Result<()> {
    sinew_tests::provider::main().await
}

const PROVIDERS: usize = 3;
const KILLS: usize = 8;

/// Between two kills.
const PAUSE: Duration = Duration::from_millis(400);

/// Between two calls.
const EVERY: Duration = Duration::from_millis(2);

/// Time after its deadline within which a call must have ended.
const GRACE: Duration = Duration::from_secs(5);

/// How each call ended.
type Ends = HashMap<u64, Result<Reply, CallError>>;

/// Calls at this pace until it is told to stop, and gives the end of every call.
async fn call_all_the_time(client: Client, name: String, mut stop: watch::Receiver<bool>) -> Result<Ends> {
    let (mut calls, mut ends) = (JoinSet::new(), Ends::new());
    let mut ticks = tokio::time::interval(EVERY);
    for number in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        let (client, name) = (client.clone(), name.clone());
        calls.spawn(async move { (number, client.call(name, number.to_string()).await) });
        while let Some(ended) = calls.try_join_next() {
            ends.extend([ended?]);
        }
    }
    while let Some(ended) = soon("the end of a call", calls.join_next()).await? {
        ends.extend([ended?]);
    }
    Ok(ends)
}

/// Calls all the time while providers of two nodes are killed, one after the other, and others come.
async fn calls_among_kills(manner: Manner, log: &Path) -> Result<Ends> {
    let cluster = Cluster::joined(2, &[]).await?;
    let server = |n: usize| cluster.nodes[n % 2].url("quic");
    let mut providers = Vec::new();
    for n in 0..PROVIDERS {
        providers.push(Provider::start(&server(n), manner, log).await?);
    }
    let name = manner.name();
    cluster.nodes[0].knows(&name, PROVIDERS as u64).await?;
    let client = sinew_client::connect(cluster.nodes[0].url("quic")).await?;
    let (stop, stopped) = watch::channel(false);
    let calling = tokio::spawn(call_all_the_time(client, name, stopped));
    for n in 0..KILLS {
        tokio::time::sleep(PAUSE).await;
        providers.remove(0).kill().await?;
        providers.push(Provider::start(&server(n), manner, log).await?);
    }
    stop.send_replace(true);
    calling.await?
}

/// How often the providers have executed each call.
fn executed(log: &Path) -> Result<HashMap<u64, usize>> {
    let mut executed = HashMap::new();
    for line in std::fs::read_to_string(log)?.lines() {
        *executed.entry(line.parse()?).or_default() += 1;
    }
    Ok(executed)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_of_an_idempotent_procedure_fails_while_providers_are_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let manner = Manner { takes: Duration::from_millis(2), concurrency: 64, idempotent: true };
    let ends = calls_among_kills(manner, &dir.path().join("log")).await?;
    let failed: Vec<_> = ends.iter().filter_map(|(n, end)| Some((n, end.as_ref().err()?))).collect();
    ensure!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), ends.len(), &failed[..failed.len().min(5)]);
    ensure!(ends.len() > 500, "only {} calls", ends.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_may_not_be_repeated_end_truly_while_providers_are_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("log");
    let manner = Manner { takes: Duration::from_millis(2), concurrency: 64, idempotent: false };
    let ends = calls_among_kills(manner, &log).await?;
    let executed = executed(&log)?;
    let mut kinds: HashMap<String, usize> = HashMap::new();
    for (number, end) in &ends {
        let times = executed.get(number).copied().unwrap_or(0);
        ensure!(times <= 1, "call {number} was executed {times} times");
        match end {
            Ok(reply) => ensure!(times == 1 && reply.body == number.to_string().as_bytes(), "{number}: {times} times"),
            Err(error) if error.executed() == Executed::No => {
                ensure!(times == 0, "{number} was executed, and its end was: {error}");
            }
            Err(CallError::Unknown(_)) => {}
            Err(other) => anyhow::bail!("{number}: {other}"),
        }
        *kinds.entry(end.as_ref().map_or_else(|error| format!("{error:?}"), |_| "ok".to_owned())).or_default() += 1;
    }
    println!("{} calls among {KILLS} kills: {kinds:?}", ends.len());
    ensure!(executed.keys().all(|number| ends.contains_key(number)), "somebody executed what nobody called");
    ensure!(ends.len() > 500 && kinds.get("ok").is_some_and(|ok| *ok > ends.len() / 2), "{kinds:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_calls_is_answered_and_the_provider_kept_busy() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::joined(2, &[]).await?;
    let manner = Manner { takes: Duration::from_millis(10), concurrency: 4, idempotent: false };
    let _provider = Provider::start(&cluster.nodes[1].url("quic"), manner, &dir.path().join("log")).await?;
    let name = manner.name();
    cluster.nodes[0].knows(&name, 1).await?;
    // 400 calls a second are what it can do; five times as many come, for two seconds.
    let deadline = Duration::from_millis(500);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(sinew_client::connect(cluster.nodes[0].url("quic")).await?);
    }
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    for n in 0..4_000_usize {
        if n % 10 == 0 {
            ticks.tick().await;
        }
        let call = clients[n % clients.len()].calling(name.as_str()).deadline(deadline);
        calls.spawn(async move {
            let begun = Instant::now();
            (call.send(n.to_string()).await, begun.elapsed())
        });
    }
    let (mut good, mut overloaded, mut late) = (0, 0, 0);
    while let Some(ended) = soon("the end of a call", calls.join_next()).await? {
        let (end, took) = ended?;
        ensure!(took < deadline + GRACE, "a call took {took:?}");
        match end {
            Ok(_) => good += 1,
            Err(CallError::Overloaded { retry_after }) => {
                ensure!(!retry_after.is_zero(), "it is not said when to try again");
                overloaded += 1;
            }
            Err(CallError::TimedOut { .. }) => late += 1,
            Err(other) => anyhow::bail!("{other}"),
        }
    }
    println!("of 4,000 calls {good} were answered, {overloaded} refused, {late} late");
    ensure!(good >= 400 && overloaded > good, "{good} answered, {overloaded} refused, {late} late");
    Ok(())
}
