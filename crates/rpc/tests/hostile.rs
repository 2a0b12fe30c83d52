//! Clients that send whatever they like: nothing panics, nodes keep the rules among themselves, and nothing is left behind.

mod support;

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use sinew_rpc::CallsConfig;
use sinew_wire::call::{CallFrame, Data, DataFlags, Flags, Reply, Request, Status, Strategy as Choice};
use sinew_wire::{CachePolicy, Procedure, ProviderHealth};
use support::{World, frames, request};

const NAMES: [&str; 4] = ["plain", "kept", "nobody", "a..b"];

#[derive(Debug, Clone)]
struct Sent {
    client: Index,
    kind: u8,
    /// Of those that it was told, or a small one.
    number: Option<Index>,
    small: u64,
    flags: Vec<Flags>,
    data: Vec<DataFlags>,
    name: &'static str,
    strategy: Choice,
    status: Status,
    amount: u32,
    body: usize,
    pump: Index,
}

fn sent() -> impl Strategy<Value = Sent> {
    let flags = vec![Flags::MORE, Flags::ITEMS_IN, Flags::ITEMS_OUT, Flags::IDEMPOTENT, Flags::HEDGE, Flags::FRESH];
    let data = vec![DataFlags::END_ITEM, DataFlags::END, DataFlags::CALLER];
    (
        (any::<Index>(), 0..20_u8, prop::option::weighted(0.8, any::<Index>()), 0..6_u64),
        (subsequence(flags, 0..=3), subsequence(data, 0..=2)),
        (select(NAMES.to_vec()), select(Choice::ALL.to_vec()), select(Status::ALL.to_vec())),
        (prop_oneof![0..300_u32, Just(1 << 20), any::<u32>()], prop_oneof![0..50_usize, Just(70_000)], any::<Index>()),
    )
        .prop_map(|(who, (flags, data), (name, strategy, status), (amount, body, pump))| {
            let (client, kind, number, small) = who;
            Sent { client, kind, number, small, flags, data, name, strategy, status, amount, body, pump }
        })
}

struct Hostile {
    world: World,
    clients: Vec<usize>,
    /// Numbers that each client was told.
    told: Vec<Vec<u64>>,
}

impl Hostile {
    fn new() -> Self {
        let config = CallsConfig { queue: 2, overflow: 2, max_calls_per_client: 8, ..CallsConfig::default() };
        let world = World::new(2, &config);
        let mut hostile = Self { world, clients: Vec::new(), told: Vec::new() };
        (0..6).for_each(|n| hostile.join(n));
        hostile
    }

    fn join(&mut self, n: usize) {
        let vary = Vec::new();
        let cache = Some(CachePolicy { ttl_ms: 5, negative_ttl_ms: 5, max_bytes: 1_000, vary }).filter(|_| n % 2 == 1);
        let procedure = Procedure { concurrency: 1 + n as u32 % 3, idempotent: !n.is_multiple_of(3), cache };
        // All of them have the same identity, which none needs but for numbers of clients.
        let client = self.world.provider(n / 3 % 2, NAMES[n % 2], procedure);
        self.clients.push(client);
        self.told.push(Vec::new());
    }

    fn send(&mut self, sent: &Sent) {
        let at = sent.client.index(self.clients.len());
        let client = self.clients[at];
        for frame in frames(&self.world.clients[client].lane) {
            self.told[at].push(frame.frame().call());
        }
        let told = &self.told[at];
        let number = sent.number.filter(|_| !told.is_empty()).map_or(sent.small, |which| *which.get(told));
        let body = vec![7; sent.body];
        let flags = sent.flags.iter().fold(Flags::default(), |flags, more| flags.with(*more));
        let data = sent.data.iter().fold(DataFlags::default(), |flags, more| flags.with(*more));
        let frame = match sent.kind {
            0..=5 => CallFrame::Request(Request {
                flags,
                strategy: sent.strategy,
                window: sent.amount,
                deadline_ms: sent.amount % 3 * 1_000,
                answers: sent.small as u16,
                body: if flags.contains(Flags::ITEMS_IN) { &[] } else { &body },
                key: &[sent.small as u8],
                ..request(sent.small, sent.name)
            }),
            6..=10 => CallFrame::Reply(Reply {
                retry_after_ms: sent.amount,
                load: sent.amount,
                health: if sent.amount.is_multiple_of(2) { ProviderHealth::Good } else { ProviderHealth::Down },
                body: &body,
                ..Reply::failure(number, sent.status, "")
            }),
            11..=15 => CallFrame::Data(Data { call: number, flags: data, body: &body }),
            16..=18 => CallFrame::Credit { call: number, caller: sent.small.is_multiple_of(2), bytes: sent.amount },
            _ => CallFrame::Cancel { call: number },
        };
        if self.world.try_send(client, &frame).is_err() {
            self.replace(at);
        }
    }

    /// A client that has broken the rules is put out, and another one comes.
    fn replace(&mut self, at: usize) {
        let client = self.clients.swap_remove(at);
        self.told.swap_remove(at);
        self.world.leave(client);
        if self.world.clients.len() < 190 {
            self.join(client);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_clients_send(all in prop::collection::vec(sent(), 1..250)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut hostile = Hostile::new();
            for (n, sent) in all.iter().enumerate() {
                if !hostile.clients.is_empty() {
                    hostile.send(sent);
                }
                hostile.world.pump_one(0, sent.pump.index(2));
                if n % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            hostile.world.pump();
            while !hostile.clients.is_empty() {
                let client = hostile.clients.remove(0);
                hostile.world.leave(client);
            }
            hostile.world.calm().await;
            // What waited for room is given up with its link.
            tokio::time::sleep(Duration::from_millis(3)).await;
            hostile.world.calm().await;
            hostile.world.assert_clean();
        });
    }
}
