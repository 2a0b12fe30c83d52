//! Whatever happens, every call ends exactly once, and its end says the truth about what was executed.

mod support;

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::Index;
use sinew_rpc::CallsConfig;
use sinew_wire::Procedure;
use sinew_wire::call::{CallFrame, Request, Status};
use support::{World, frames, request};

const NODES: u8 = 3;
const NAMES: [&str; 2] = ["once", "twice"];

#[derive(Debug, Clone)]
enum Step {
    Call { caller: Index, name: usize, priority: u8 },
    Cancel(Index),
    Read(Index),
    Answer { provider: Index, which: Index, how: u8 },
    Pump(Index, bool),
    Join { node: Index, name: usize, concurrency: u32 },
    Leave(Index),
    Withdraw(Index),
    Disconnect(Index),
    Connect(Index),
    Unreachable(Index),
    Freeze(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<Index>(), 0..2_usize, 0..3_u8)
            .prop_map(|(caller, name, priority)| Step::Call { caller, name, priority }),
        2 => any::<Index>().prop_map(Step::Cancel),
        6 => any::<Index>().prop_map(Step::Read),
        10 => (any::<Index>(), any::<Index>(), 0..10_u8)
            .prop_map(|(provider, which, how)| Step::Answer { provider, which, how }),
        20 => (any::<Index>(), any::<bool>()).prop_map(|(pair, from)| Step::Pump(pair, from)),
        2 => (any::<Index>(), 0..2_usize, 1..4_u32)
            .prop_map(|(node, name, concurrency)| Step::Join { node, name, concurrency }),
        1 => any::<Index>().prop_map(Step::Leave),
        1 => any::<Index>().prop_map(Step::Withdraw),
        1 => any::<Index>().prop_map(Step::Disconnect),
        2 => any::<Index>().prop_map(Step::Connect),
        1 => any::<Index>().prop_map(Step::Unreachable),
        1 => any::<bool>().prop_map(Step::Freeze),
    ]
}

#[derive(Debug)]
struct Call {
    caller: usize,
    number: u64,
    idempotent: bool,
    cancelled: bool,
    end: Option<Status>,
    /// How each provider that got it has answered, if it has.
    executed: Vec<Option<Status>>,
}

struct Provider {
    client: usize,
    withdrawn: bool,
    /// Requests at hand: number there, which call, which execution.
    at_hand: Vec<(u64, usize, usize)>,
}

struct Simulation {
    world: World,
    callers: Vec<usize>,
    providers: Vec<Provider>,
    calls: Vec<Call>,
    by_number: HashMap<(usize, u64), usize>,
}

const LINKS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

impl Simulation {
    fn new() -> Self {
        let config = CallsConfig { queue: 3, overflow: 3, waiting_per_node: 4, ..CallsConfig::default() };
        let mut world = World::new(NODES, &config);
        let callers = vec![world.client(0), world.client(1)];
        Self { world, callers, providers: Vec::new(), calls: Vec::new(), by_number: HashMap::new() }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Call { caller, name, priority } => self.call(*caller.get(&self.callers), *name, *priority),
            Step::Cancel(which) => self.cancel(*which),
            Step::Read(caller) => self.read(*caller.get(&self.callers)),
            Step::Answer { provider, which, how } => {
                if !self.providers.is_empty() {
                    let at = provider.index(self.providers.len());
                    self.take_in(at);
                    let at_hand = self.providers[at].at_hand.len();
                    if at_hand > 0 {
                        self.answer(at, which.index(at_hand), *how);
                    }
                }
            }
            Step::Pump(pair, from) => {
                if self.world.pairs() > 0 {
                    self.world.pump_one(pair.index(self.world.pairs()), usize::from(*from));
                }
            }
            Step::Join { node, name, concurrency } => {
                self.join(node.index(NODES.into()), *name, *concurrency);
            }
            Step::Leave(provider) => {
                if !self.providers.is_empty() {
                    let gone = self.providers.swap_remove(provider.index(self.providers.len()));
                    self.world.leave(gone.client);
                }
            }
            Step::Withdraw(provider) => {
                if !self.providers.is_empty() {
                    let at = provider.index(self.providers.len());
                    self.withdraw(at);
                }
            }
            Step::Disconnect(pair) => {
                let (a, b) = *pair.get(&LINKS);
                self.world.disconnect(a, b);
            }
            Step::Connect(pair) => self.connect(*pair.get(&LINKS)),
            Step::Unreachable(pair) => self.unreachable(*pair.get(&LINKS)),
            Step::Freeze(true) => self.world.realm.freeze(),
            Step::Freeze(false) => self.world.realm.thaw(),
        }
    }

    fn join(&mut self, node: usize, name: usize, concurrency: u32) {
        // As many clients as there are identities.
        if self.world.clients.len() < 190 {
            let procedure = Procedure { concurrency, idempotent: name == 1, cache: None };
            let client = self.world.provider(node, NAMES[name], procedure);
            self.providers.push(Provider { client, withdrawn: false, at_hand: Vec::new() });
        }
    }

    fn call(&mut self, caller: usize, name: usize, priority: u8) {
        let at = self.calls.len();
        let number = at as u64 * 3;
        let body = (at as u64).to_le_bytes();
        let (idempotent, executed) = (name == 1, Vec::new());
        self.calls.push(Call { caller, number, idempotent, cancelled: false, end: None, executed });
        self.by_number.insert((caller, number), at);
        let request = Request { body: &body, priority, ..request(number, NAMES[name]) };
        self.world.send(caller, &CallFrame::Request(request));
    }

    fn cancel(&mut self, which: Index) {
        // What the caller has been sent already it has.
        self.callers.clone().into_iter().for_each(|caller| self.read(caller));
        let open: Vec<_> = (0..self.calls.len()).filter(|at| self.is_open(*at)).collect();
        if !open.is_empty() {
            let call = &mut self.calls[*which.get(&open)];
            call.cancelled = true;
            self.world.send(call.caller, &CallFrame::Cancel { call: call.number });
        }
    }

    fn is_open(&self, at: usize) -> bool {
        !self.calls[at].cancelled && self.calls[at].end.is_none()
    }

    /// A caller takes what has come, and it has to be true.
    fn read(&mut self, caller: usize) {
        for frame in frames(&self.world.clients[caller].lane) {
            let reply = frame.reply();
            let at = self.by_number[&(caller, reply.call)];
            let call = &mut self.calls[at];
            assert!(!call.cancelled, "answered although it was cancelled");
            assert_eq!(call.end, None, "answered twice");
            call.end = Some(reply.status);
            check(call);
        }
    }

    /// A provider answers one of its calls.
    fn answer(&mut self, at: usize, which: usize, how: u8) {
        let provider = &mut self.providers[at];
        let (number, call, execution) = provider.at_hand.swap_remove(which);
        let status = match how {
            0 | 1 => Status::Overloaded,
            2 => Status::Application,
            3 => Status::Panicked,
            _ => Status::Ok,
        };
        self.calls[call].executed[execution] = Some(status);
        let client = provider.client;
        self.world.answer(client, number, status, b"");
    }

    fn take_in(&mut self, at: usize) {
        let provider = &mut self.providers[at];
        for frame in frames(&self.world.clients[provider.client].lane) {
            match frame.frame() {
                CallFrame::Request(request) => {
                    let call = u64::from_le_bytes(request.body.try_into().expect("is a number")) as usize;
                    provider.at_hand.push((request.call, call, self.calls[call].executed.len()));
                    self.calls[call].executed.push(None);
                    assert!(self.calls[call].idempotent || may_be_executed(&self.calls[call]), "executed twice");
                }
                CallFrame::Cancel { call } => provider.at_hand.retain(|(number, ..)| *number != call),
                other => panic!("{other:?} for a provider"),
            }
        }
    }

    fn withdraw(&mut self, at: usize) {
        let provider = &mut self.providers[at];
        if !std::mem::replace(&mut provider.withdrawn, true) {
            let client = &self.world.clients[provider.client];
            self.world.nodes[client.node].calls.withdraw(client.session, 1).expect("is held");
        }
    }

    fn connect(&mut self, (a, b): (usize, usize)) {
        if !self.world.is_connected(a, b) {
            self.world.connect(a, b);
        }
    }

    fn unreachable(&mut self, (a, b): (usize, usize)) {
        if !self.world.is_connected(a, b) {
            let (node, other) = (self.world.nodes[a].calls.clone(), self.world.nodes[b].peer);
            node.unreachable(other);
        }
    }

    /// All links are up, all providers answer, and all callers read, until nothing is left.
    async fn finish(&mut self) {
        self.world.realm.thaw();
        LINKS.into_iter().for_each(|link| self.connect(link));
        for _ in 0..2_000 {
            self.world.calm().await;
            for at in 0..self.providers.len() {
                self.take_in(at);
                while !self.providers[at].at_hand.is_empty() {
                    self.answer(at, 0, 9);
                }
            }
            self.callers.clone().into_iter().for_each(|caller| self.read(caller));
            if (0..self.calls.len()).all(|at| !self.is_open(at)) {
                break;
            }
        }
        self.world.calm().await;
        for (at, call) in self.calls.iter().enumerate() {
            assert!(!self.is_open(at), "has not ended: {call:?}");
        }
        self.world.assert_clean();
    }
}

/// At most one provider has done more than to say that it did not execute it.
fn may_be_executed(call: &Call) -> bool {
    call.executed.iter().filter(|end| **end != Some(Status::Overloaded)).count() <= 1
}

/// Whether the end of a call tells what its providers have done.
fn check(call: &Call) {
    let count = |status| call.executed.iter().filter(|end| **end == Some(status)).count();
    match call.end {
        Some(status @ (Status::Ok | Status::Application | Status::Panicked)) => {
            assert!(count(status) >= 1, "nobody has answered so: {call:?}");
        }
        Some(Status::NotSent | Status::NoProvider | Status::Overloaded) => {
            assert_eq!(count(Status::Overloaded), call.executed.len(), "was executed: {call:?}");
        }
        Some(Status::Unknown) => {}
        other => panic!("{other:?} is no end here: {call:?}"),
    }
    if !call.idempotent {
        assert!(may_be_executed(call), "executed twice: {call:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn every_call_ends_once_and_truly(steps in prop::collection::vec(step(), 1..250)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut simulation = Simulation::new();
            simulation.join(0, 0, 2);
            simulation.join(0, 1, 2);
            for (n, step) in steps.iter().enumerate() {
                simulation.take(step);
                if n % 4 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            simulation.finish().await;
        });
    }
}
