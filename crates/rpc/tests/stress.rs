//! The same from many threads at once: tasks for all ends of all links, providers that come and go.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use sinew_flow::Budget;
use sinew_link::Lane;
use sinew_observe::{Metrics, Registry};
use sinew_rpc::{Calls, CallsConfig, Owner, Port};
use sinew_wire::call::{CallFrame, Flags, Reply, Request, Status};
use sinew_wire::{CachePolicy, HEADER_LEN, Procedure, Serve};
use support::{Frame, NodeDirectory, Realm, frames, peer, request, soon};
use tokio::task::JoinHandle;

const CALLS: u64 = 10_000;
const WINDOW: usize = 100;

struct Node {
    number: u8,
    calls: Calls,
    budget: Arc<Budget>,
}

fn node(realm: &Realm, number: u8) -> Node {
    let metrics = Metrics::new(&mut Registry::default());
    let budget = Arc::new(Budget::new(64 << 20));
    let directory = NodeDirectory { realm: realm.clone(), node: peer(number) };
    let config = CallsConfig { queue: 50, overflow: 50, ..CallsConfig::default() };
    let calls = Calls::start_with(config, peer(number), directory, Arc::clone(&budget), metrics);
    Node { number, calls, budget }
}

fn put(port: &mut Port, frame: &CallFrame<'_>) {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    port.frame(&out[HEADER_LEN..], Instant::now()).expect("breaks no rule");
}

async fn next(lane: &Lane) -> Vec<Frame> {
    loop {
        let frames = frames(lane);
        if !frames.is_empty() {
            return frames;
        }
        lane.woken().await;
    }
}

/// Carries what one node has for another to it.
fn carry(lane: Arc<Lane>, mut port: Port) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            for frame in next(&lane).await {
                port.frame(&frame.0, Instant::now()).expect("nodes keep the rules");
            }
            tokio::task::yield_now().await;
        }
    })
}

fn connect(a: &Node, b: &Node) -> [JoinHandle<()>; 2] {
    let lanes = [Lane::new(16 << 20), Lane::new(16 << 20)];
    let of_a = a.calls.node(peer(b.number), Arc::clone(&lanes[0]));
    let of_b = b.calls.node(peer(a.number), Arc::clone(&lanes[1]));
    let [from_a, from_b] = lanes;
    [carry(from_a, of_b), carry(from_b, of_a)]
}

/// Provides until it has had so many calls, leaves with what it has at hand, and comes again.
async fn provide(
    (realm, calls, at): (Realm, Calls, u8),
    sessions: Arc<AtomicU64>,
    (name, procedure): (&'static str, Procedure),
    (life, stop): (usize, Arc<AtomicBool>),
) {
    while !stop.load(Ordering::Relaxed) {
        let session = sessions.fetch_add(1, Ordering::Relaxed);
        let owner = Owner { session, peer: peer(7), instance: session };
        let lane = Lane::new(16 << 20);
        let mut port = calls.client(owner, Arc::clone(&lane));
        let procedure = procedure.clone();
        let serve = Serve { lease: 1, name: name.to_owned(), ttl_ms: 0, metadata: Vec::new(), procedure };
        calls.serve(owner, serve).expect("is granted");
        let mut had = 0;
        while had < life && !stop.load(Ordering::Relaxed) {
            let Ok(got) = tokio::time::timeout(std::time::Duration::from_millis(20), next(&lane)).await else {
                continue;
            };
            for frame in got {
                if let CallFrame::Request(request) = frame.frame() {
                    had += 1;
                    let status = if had % 17 == 0 { Status::Overloaded } else { Status::Ok };
                    let reply = Reply { body: request.body, ..Reply::failure(request.call, status, "") };
                    if had < life {
                        put(&mut port, &CallFrame::Reply(reply));
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        let _bytes = lane.close();
        realm.session_lost(peer(at), session);
    }
}

/// Calls, and gives how often each call was answered.
async fn call(calls: Calls, session: u64) -> Vec<u8> {
    let owner = Owner { session, peer: peer(8), instance: session };
    let lane = Lane::new(16 << 20);
    let mut port = calls.client(owner, Arc::clone(&lane));
    let mut answered = vec![0_u8; CALLS as usize];
    let (mut sent, mut open) = (0, 0_usize);
    while sent < CALLS || open > 0 {
        while sent < CALLS && open < WINDOW {
            let body = sent.to_le_bytes();
            let name = ["once", "twice", "kept"][sent as usize % 3];
            let body = if name == "kept" { &body[..1] } else { &body[..] };
            let flags = if sent % 5 == 0 { Flags::HEDGE } else { Flags::default() };
            put(&mut port, &CallFrame::Request(Request { body, flags, ..request(sent, name) }));
            if sent % 11 == 10 && answered[sent as usize] == 0 {
                put(&mut port, &CallFrame::Cancel { call: sent });
                answered[sent as usize] = u8::MAX;
            } else {
                open += 1;
            }
            sent += 1;
        }
        for frame in next(&lane).await {
            let reply = frame.reply();
            let count = &mut answered[reply.call as usize];
            // An answer may have been queued before the cancel.
            if *count != u8::MAX {
                *count += 1;
                open -= 1;
            }
        }
        tokio::task::yield_now().await;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn from_many_threads_every_call_ends_once() {
    let realm = Realm::default();
    let nodes = [node(&realm, 201), node(&realm, 202)];
    let links = connect(&nodes[0], &nodes[1]);
    let (sessions, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let cache = Some(CachePolicy { ttl_ms: 5, negative_ttl_ms: 5, max_bytes: 1_000, vary: Vec::new() });
    let mut providers = Vec::new();
    for (n, life) in [(0, 300), (1, 500), (0, 5_000), (1, 40)] {
        for (name, idempotent, cache) in [("once", false, None), ("twice", true, None), ("kept", true, cache.clone())] {
            let procedure = Procedure { concurrency: 8, idempotent, cache };
            let place = (realm.clone(), nodes[n].calls.clone(), nodes[n].number);
            let stop = (life, Arc::clone(&stop));
            providers.push(tokio::spawn(provide(place, Arc::clone(&sessions), (name, procedure), stop)));
        }
    }
    let callers: Vec<_> = (0..4)
        .map(|n| tokio::spawn(call(nodes[n % 2].calls.clone(), sessions.fetch_add(1, Ordering::Relaxed))))
        .collect();
    for caller in callers {
        let answered = soon("all answers", caller).await.expect("does not panic");
        let wrong: Vec<_> = (0..).zip(answered).filter(|(_, count)| !matches!(count, 1 | &u8::MAX)).collect();
        assert!(wrong.is_empty(), "answered more than once: {wrong:?}");
    }
    stop.store(true, Ordering::Relaxed);
    for provider in providers {
        soon("a provider", provider).await.expect("does not panic");
    }
    for node in &nodes {
        soon("the last calls to end", async {
            while node.calls.open() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(node.budget.used(), 0);
        let view = node.calls.view();
        assert!(view.providers.is_empty(), "{view:?}");
        let in_flight = view.procedures.iter().flat_map(|procedure| &procedure.instances).map(|one| one.in_flight);
        assert_eq!(in_flight.sum::<u32>(), 0, "{view:?}");
    }
    links.into_iter().for_each(|link| link.abort());
}
