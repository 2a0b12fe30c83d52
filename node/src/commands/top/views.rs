//! From a frame to tables: what each view shows of it.

use std::collections::BTreeMap;

use sinew_live::frame::{Frame, Kind, Node, NodeState, Row as Sums, Sample, Window, Windows};

use super::table::{Cell, Column, Row, Table, Tone, number, text};
use super::words::{age, bytes, clean, clock, count, fill, micros, short};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Nodes,
    Topics,
    Procedures,
    Clients,
    Queues,
    Events,
}

impl View {
    /// All of them; the first has the key 1.
    pub(super) const ALL: [Self; 7] =
        [Self::Overview, Self::Nodes, Self::Topics, Self::Procedures, Self::Clients, Self::Queues, Self::Events];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Nodes => "Nodes",
            Self::Topics => "Topics",
            Self::Procedures => "Procedures",
            Self::Clients => "Clients",
            Self::Queues => "Queues",
            Self::Events => "Events",
        }
    }

    /// The columns of its first table: those it can be sorted by.
    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Overview => &OVERVIEW,
            Self::Nodes => &NODES,
            Self::Topics => &TOPICS,
            Self::Procedures => &PROCEDURES,
            Self::Clients => &SLOW,
            Self::Queues => &QUEUES,
            Self::Events => &EVENTS,
        }
    }

    /// Its tables, in the order of the frame.
    pub(super) fn tables(self, frame: &Frame, events: &[Sample], span: Span) -> Vec<Table> {
        let window = span.of(&frame.windows);
        match self {
            Self::Overview => vec![overview(frame, window)],
            Self::Nodes => vec![nodes(frame), links(frame)],
            Self::Topics => vec![topics(frame, window)],
            Self::Procedures => vec![procedures(frame, window), providers(window)],
            Self::Clients => vec![slow(frame), clients(frame)],
            Self::Queues => vec![queues(frame), drops(frame)],
            Self::Events => vec![feed(events)],
        }
    }
}

/// Over how many seconds is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    One,
    Ten,
    Sixty,
}

impl Span {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::One => Self::Ten,
            Self::Ten => Self::Sixty,
            Self::Sixty => Self::One,
        }
    }

    pub(super) const fn of(self, windows: &Windows) -> &Window {
        match self {
            Self::One => &windows.one,
            Self::Ten => &windows.ten,
            Self::Sixty => &windows.sixty,
        }
    }

    pub(super) const fn seconds(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Ten => 10,
            Self::Sixty => 60,
        }
    }
}

const OVERVIEW: [Column; 11] = [
    text("NODE", 0),
    text("REGION", 4),
    text("STATE", 0),
    number("CLIENTS", 5),
    number("PUB/s", 1),
    number("DELIV/s", 1),
    number("CALLS/s", 2),
    number("DROP/s", 3),
    number("P50", 4),
    number("P95", 6),
    number("P99", 3),
];

const NODES: [Column; 15] = [
    text("NODE", 0),
    text("REGION", 3),
    text("STATE", 0),
    number("UP", 4),
    number("CLIENTS", 2),
    number("SUBS", 2),
    number("MEMORY", 3),
    number("PUB/s", 1),
    number("DELIV/s", 1),
    number("FORW/s", 2),
    number("DROP/s", 3),
    number("IN/s", 5),
    number("OUT/s", 5),
    number("DELIV P99", 6),
    text("FAILING", 7),
];

const LINKS: [Column; 6] =
    [text("FROM", 0), text("TO", 0), text("PATH", 0), number("RTT", 1), number("SENT/s", 0), number("RECEIVED/s", 1)];

const TOPICS: [Column; 9] = [
    text("TOPIC", 0),
    number("RUNS/s", 1),
    number("MESSAGES", 1),
    number("FAILED", 2),
    number("P50", 3),
    number("P99", 2),
    number("LISTENERS", 1),
    number("PUBLISHED", 4),
    number("UNHEARD", 2),
];

const PROCEDURES: [Column; 9] = [
    text("PROCEDURE", 0),
    number("CALLS/s", 1),
    number("CALLS", 1),
    number("FAILED", 1),
    number("P50", 2),
    number("P95", 3),
    number("P99", 2),
    number("INSTANCES", 2),
    number("NODES", 4),
];

const PROVIDERS: [Column; 7] = [
    text("PROVIDER", 0),
    number("CALLS/s", 1),
    number("CALLS", 1),
    number("FAILED", 1),
    number("P50", 2),
    number("P95", 3),
    number("P99", 2),
];

const SLOW: [Column; 8] = [
    text("NODE", 0),
    text("CLIENT", 1),
    text("PEER", 3),
    text("NAME", 2),
    text("PATTERN", 0),
    number("QUEUED", 1),
    number("FULL %", 0),
    number("MISSED", 0),
];

const CLIENTS: [Column; 6] = [
    text("NODE", 0),
    text("REGION", 2),
    number("CLIENTS", 0),
    number("SUBSCRIPTIONS", 0),
    number("SLOW", 0),
    number("DELIV P99", 1),
];

const QUEUES: [Column; 5] =
    [text("NODE", 0), text("QUEUE", 0), number("DEPTH", 1), number("CAPACITY", 1), number("FULL %", 0)];

const DROPS: [Column; 3] = [text("NODE", 0), text("REASON", 0), number("DROPPED", 0)];

const EVENTS: [Column; 10] = [
    text("TIME UTC", 0),
    text("NODE", 1),
    text("REGION", 5),
    text("KIND", 2),
    text("NAME", 0),
    number("MSGS", 3),
    number("TO", 6),
    text("PROVIDER", 4),
    text("OUTCOME", 0),
    number("LATENCY", 1),
];

fn whole(number: u64) -> Cell {
    Cell::number(number as f64, count(number as f64))
}

fn rate(number: f64) -> Cell {
    Cell::number(number, count(number))
}

/// What a node does now; nobody knows that of one that is lost.
fn now(node: &Node, cell: Cell) -> Cell {
    if node.state == NodeState::Lost { Cell::number(-1.0, "-").tone(Tone::Dim) } else { cell }
}

/// Drops per second: red when there are some.
fn dropping(rate: f64) -> Cell {
    self::rate(rate).tone(if rate > 0.0 { Tone::Bad } else { Tone::Plain })
}

fn latency(us: Option<u64>) -> Cell {
    // What has none sorts below what has 0.
    Cell::number(us.map_or(-1.0, |us| us as f64), micros(us))
}

/// A count of what should not be.
fn bad(number: u64) -> Cell {
    whole(number).tone(if number > 0 { Tone::Bad } else { Tone::Plain })
}

fn state(node: &Node) -> Cell {
    let (words, tone) = match (node.state, node.ready) {
        (NodeState::Lost, _) => ("lost", Tone::Bad),
        (NodeState::Leaving, _) => ("leaving", Tone::Warning),
        (NodeState::Up, true) => ("up", Tone::Good),
        (NodeState::Up, false) => ("unready", Tone::Warning),
    };
    Cell::new(words).tone(tone)
}

/// How full a queue is; red from where readiness fails.
fn fullness(percent: f64) -> Cell {
    let tone = match percent {
        p if p >= 90.0 => Tone::Bad,
        p if p >= 70.0 => Tone::Warning,
        _ => Tone::Plain,
    };
    Cell::number(percent, format!("{percent:.0}")).tone(tone)
}

fn table(title: impl Into<String>, columns: &'static [Column], rows: Vec<Row>, nothing: &'static str) -> Table {
    Table { title: title.into(), columns, rows, nothing }
}

fn overview(frame: &Frame, window: &Window) -> Table {
    let sums: BTreeMap<&str, &Sums> = window.by_node.iter().map(|row| (row.key.as_str(), row)).collect();
    let row = |node: &Node| {
        let sums = sums.get(node.node.as_str());
        let wide = |us: fn(&Sums) -> Option<u32>| latency(sums.and_then(|row| us(row)).map(u64::from));
        Row {
            cells: vec![
                Cell::new(short(&node.node)),
                Cell::new(clean(&node.region)),
                state(node),
                now(node, whole(node.clients.into())),
                now(node, rate(node.rates.published)),
                now(node, rate(node.rates.delivered)),
                now(node, rate(node.rates.calls)),
                now(node, dropping(node.rates.dropped)),
                wide(|row| row.p50_us),
                wide(|row| row.p95_us),
                wide(|row| row.p99_us),
            ],
            more: node.node.clone(),
        }
    };
    table("Nodes", &OVERVIEW, frame.nodes.iter().map(row).collect(), "no node has told how it is yet")
}

fn nodes(frame: &Frame) -> Table {
    let row = |node: &Node| Row {
        cells: vec![
            Cell::new(short(&node.node)),
            Cell::new(clean(&node.region)),
            state(node),
            Cell::number(node.uptime_s as f64, age(node.uptime_s)),
            now(node, whole(node.clients.into())),
            now(node, whole(node.subscriptions.into())),
            Cell::number(node.memory as f64, bytes(node.memory as f64)),
            now(node, rate(node.rates.published)),
            now(node, rate(node.rates.delivered)),
            now(node, rate(node.rates.forwarded)),
            now(node, dropping(node.rates.dropped)),
            now(node, Cell::number(node.rates.bytes_in, bytes(node.rates.bytes_in))),
            now(node, Cell::number(node.rates.bytes_out, bytes(node.rates.bytes_out))),
            latency(node.deliver_us.map(|deliver| deliver.p99)),
            Cell::new(clean(&node.failing.join(", "))).tone(Tone::Warning),
        ],
        more: node.node.clone(),
    };
    table("Nodes", &NODES, frame.nodes.iter().map(row).collect(), "no node has told how it is yet")
}

fn links(frame: &Frame) -> Table {
    let rows = frame.nodes.iter().flat_map(|node| {
        node.links.iter().map(|link| Row {
            cells: vec![
                Cell::new(short(&node.node)),
                Cell::new(short(&link.to)),
                Cell::new(clean(&link.path)),
                latency(link.rtt_us.map(u64::from)),
                rate(link.sent),
                rate(link.received),
            ],
            more: format!("{} {}", node.node, link.to),
        })
    });
    table("Links", &LINKS, rows.collect(), "no links: they are made when there is something to forward")
}

fn topics(frame: &Frame, window: &Window) -> Table {
    let known: BTreeMap<_, _> = frame.topics.iter().map(|topic| (topic.topic.as_str(), topic)).collect();
    let none = Sums::default();
    let quiet = frame.topics.iter().filter(|topic| !window.by_topic.iter().any(|row| row.key == topic.topic));
    let quiet = quiet.map(|topic| (topic.topic.as_str(), &none));
    let rows = window.by_topic.iter().map(|row| (row.key.as_str(), row)).chain(quiet).map(|(name, sums)| {
        let topic = known.get(name);
        let told = |number: Option<u64>| number.map_or_else(|| Cell::number(-1.0, "-"), whole);
        let matched = topic.map(|topic| topic.matched);
        let matched = told(matched).tone(if matched == Some(0) { Tone::Warning } else { Tone::Plain });
        Row {
            cells: vec![
                Cell::new(clean(name)),
                rate(sums.rate),
                whole(sums.messages),
                bad(sums.failed),
                latency(sums.p50_us.map(u64::from)),
                latency(sums.p99_us.map(u64::from)),
                matched,
                told(topic.map(|topic| topic.published)),
                told(topic.map(|topic| topic.unheard)),
            ],
            more: String::new(),
        }
    });
    table("Topics", &TOPICS, rows.collect(), "nothing was published in this window")
}

fn called(first: Cell, sums: &Sums, more: String) -> Row {
    let cells = vec![
        first,
        rate(sums.rate),
        whole(sums.events),
        bad(sums.failed),
        latency(sums.p50_us.map(u64::from)),
        latency(sums.p95_us.map(u64::from)),
        latency(sums.p99_us.map(u64::from)),
    ];
    Row { cells, more }
}

fn procedures(frame: &Frame, window: &Window) -> Table {
    let services: BTreeMap<_, _> = frame.services.iter().map(|service| (service.name.as_str(), service)).collect();
    let none = Sums::default();
    let quiet = frame.services.iter().filter(|one| !window.by_procedure.iter().any(|row| row.key == one.name));
    let quiet = quiet.map(|service| (service.name.as_str(), &none));
    let rows = window.by_procedure.iter().map(|row| (row.key.as_str(), row)).chain(quiet).map(|(name, sums)| {
        let mut row = called(Cell::new(clean(name)), sums, String::new());
        let (instances, nodes) = services.get(name).map_or((0, 0), |service| (service.instances, service.nodes));
        row.cells.push(whole(instances).tone(if instances == 0 { Tone::Warning } else { Tone::Plain }));
        row.cells.push(whole(nodes));
        row
    });
    table("Procedures and services", &PROCEDURES, rows.collect(), "nobody provides anything")
}

fn providers(window: &Window) -> Table {
    let rows = window.by_provider.iter().map(|sums| called(Cell::new(short(&sums.key)), sums, sums.key.clone()));
    table("Providers", &PROVIDERS, rows.collect(), "no call was answered in this window")
}

fn slow(frame: &Frame) -> Table {
    let rows = frame.nodes.iter().flat_map(|node| {
        node.slow.iter().map(|slow| Row {
            cells: vec![
                Cell::new(short(&node.node)),
                Cell::new(clean(&slow.client)),
                Cell::new(short(&slow.peer)),
                Cell::new(clean(&slow.name)),
                Cell::new(clean(&slow.pattern)),
                whole(slow.queued),
                fullness(fill(slow.queued, slow.capacity)),
                bad(slow.missed),
            ],
            more: format!("{} {}", node.node, slow.peer),
        })
    });
    table("Slow subscribers", &SLOW, rows.collect(), "every subscriber keeps up")
}

fn clients(frame: &Frame) -> Table {
    let row = |node: &Node| Row {
        cells: vec![
            Cell::new(short(&node.node)),
            Cell::new(clean(&node.region)),
            now(node, whole(node.clients.into())),
            now(node, whole(node.subscriptions.into())),
            bad(node.slow.len() as u64),
            latency(node.deliver_us.map(|deliver| deliver.p99)),
        ],
        more: node.node.clone(),
    };
    table("Clients", &CLIENTS, frame.nodes.iter().map(row).collect(), "no node has told how it is yet")
}

fn queues(frame: &Frame) -> Table {
    let of_nodes = frame.nodes.iter().flat_map(|node| {
        node.queues.iter().map(|queue| (node.node.as_str(), queue.queue.as_str(), queue.depth, queue.capacity))
    });
    let mut queues: Vec<_> = of_nodes.collect();
    queues.sort_by(|a, b| fill(b.2, b.3).total_cmp(&fill(a.2, a.3)));
    let row = |&(node, queue, depth, capacity): &(&str, &str, u64, u64)| Row {
        cells: vec![
            Cell::new(short(node)),
            Cell::new(clean(queue)),
            whole(depth),
            whole(capacity),
            fullness(fill(depth, capacity)),
        ],
        more: node.to_owned(),
    };
    table("Queues", &QUEUES, queues.iter().map(row).collect(), "no node has told of its queues yet")
}

fn drops(frame: &Frame) -> Table {
    let rows = frame.nodes.iter().flat_map(|node| {
        node.dropped.iter().map(|(reason, dropped)| Row {
            cells: vec![Cell::new(short(&node.node)), Cell::new(clean(reason)), bad(*dropped)],
            more: node.node.clone(),
        })
    });
    table("Drops since the start of each node", &DROPS, rows.collect(), "nothing was dropped")
}

fn feed(events: &[Sample]) -> Table {
    let row = |event: &Sample| {
        let tone = match &*event.outcome {
            "ok" => Tone::Plain,
            "unheard" => Tone::Dim,
            _ => Tone::Bad,
        };
        let kind = match event.kind {
            Kind::Publish => "publish",
            Kind::Call => "call",
        };
        Row {
            cells: vec![
                Cell::new(clock(event.time_ms)),
                Cell::new(short(&event.node)),
                Cell::new(clean(&event.region)),
                Cell::new(kind),
                Cell::new(clean(&event.name)),
                whole(event.messages.into()),
                whole(event.nodes.into()),
                Cell::new(event.provider.as_deref().map_or_else(|| "-".to_owned(), short)),
                Cell::new(clean(&event.outcome)).tone(tone),
                latency(event.latency_us.map(u64::from)),
            ],
            more: format!("{} {} {}", event.id, event.node, event.provider.as_deref().unwrap_or_default()),
        }
    };
    table("Some of the last events, newest first", &EVENTS, events.iter().map(row).collect(), "nothing was routed yet")
}
