//! The table of the pool against a naive model of it.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sinew_link::pool::{Admitted, Closed, Dial, LinkId, PoolConfig, PoolFull, State, Table};

const IDLE: Duration = Duration::from_secs(300);

fn config(max: usize) -> PoolConfig {
    PoolConfig { max, ..PoolConfig::default() }
}

/// What a list of links does, written down in the most obvious way: sorted by last traffic, the oldest in front.
#[derive(Debug, Default)]
struct Model {
    max: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    peer: u16,
    last: Instant,
    /// Nothing while it is being dialled.
    link: Option<LinkId>,
    busy: bool,
}

impl Model {
    fn row(&mut self, peer: u16) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.peer == peer)
    }

    fn remove(&mut self, peer: u16) -> Option<Row> {
        let at = self.rows.iter().position(|row| row.peer == peer)?;
        Some(self.rows.remove(at))
    }

    fn room(&mut self) -> Result<Option<(u16, LinkId)>, PoolFull> {
        if self.rows.len() < self.max {
            return Ok(None);
        }
        let at = self.rows.iter().position(|row| row.link.is_some() && !row.busy);
        let row = self.rows.remove(at.ok_or(PoolFull { max: self.max })?);
        Ok(Some((row.peer, row.link.expect("chosen for it"))))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Dial(u16),
    Failed(u16),
    Dropped(u16),
    Up(u16),
    Down(u16, bool),
    Touch(u16),
    Busy(u16, bool),
    Pass(u64),
    Sweep,
}

fn steps(peers: u16) -> impl Strategy<Value = Vec<Step>> {
    let peer = 0..peers;
    let step = prop_oneof![
        4 => peer.clone().prop_map(Step::Dial),
        1 => peer.clone().prop_map(Step::Failed),
        1 => peer.clone().prop_map(Step::Dropped),
        6 => peer.clone().prop_map(Step::Up),
        1 => (peer.clone(), any::<bool>()).prop_map(|(peer, lost)| Step::Down(peer, lost)),
        4 => peer.clone().prop_map(Step::Touch),
        3 => (peer, any::<bool>()).prop_map(|(peer, busy)| Step::Busy(peer, busy)),
        2 => (1_u64..60_000).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn does_what_the_naive_list_does(steps in steps(24), max in 1_usize..12, seed: u64) {
        let mut table = Table::new(config(max), seed);
        let mut model = Model { max, ..Model::default() };
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Dial(peer) => dial(&mut table, &mut model, peer, now)?,
                Step::Failed(peer) => {
                    let dialling = model.row(peer).is_some_and(|row| row.link.is_none());
                    prop_assert_eq!(table.dial_failed(&peer, now).is_some(), dialling);
                    if dialling {
                        model.remove(peer);
                    }
                }
                Step::Dropped(peer) => {
                    let dialling = model.row(peer).is_some_and(|row| row.link.is_none());
                    prop_assert_eq!(table.dial_dropped(&peer), dialling);
                    if dialling {
                        model.remove(peer);
                    }
                }
                Step::Up(peer) => up(&mut table, &mut model, peer, now)?,
                Step::Down(peer, lost) => {
                    let reason = if lost { Closed::Lost } else { Closed::Peer };
                    if let Some(link) = model.row(peer).and_then(|row| row.link) {
                        prop_assert!(table.down(&peer, link, reason, now));
                        prop_assert!(!table.down(&peer, link, reason, now), "only once");
                        model.remove(peer);
                    }
                }
                Step::Touch(peer) => {
                    table.touch(&peer, now);
                    if model.row(peer).is_some_and(|row| row.link.is_some()) {
                        let row = model.remove(peer).expect("is there");
                        model.rows.push(Row { last: now, ..row });
                    }
                }
                Step::Busy(peer, busy) => {
                    table.set_busy(&peer, busy);
                    if let Some(row) = model.row(peer).filter(|row| row.link.is_some()) {
                        row.busy = busy;
                    }
                }
                Step::Pass(ms) => now += Duration::from_millis(ms),
                Step::Sweep => {
                    let mut swept = table.sweep(now);
                    let is_idle = |row: &Row| row.link.is_some() && !row.busy && now - row.last >= IDLE;
                    let mut expected: Vec<(u16, LinkId)> =
                        model.rows.iter().filter(|row| is_idle(row)).map(|row| (row.peer, row.link.unwrap())).collect();
                    model.rows.retain(|row| !is_idle(row));
                    swept.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(swept, expected);
                }
            }
            let order: Vec<u16> = table.keys().copied().collect();
            let expected: Vec<u16> = model.rows.iter().rev().map(|row| row.peer).collect();
            prop_assert_eq!(order, expected, "the order of the last traffic");
            let links = model.rows.iter().filter(|row| row.link.is_some()).count();
            prop_assert_eq!(table.links(), links);
            prop_assert!(table.len() <= max);
            let counters = table.counters();
            prop_assert_eq!(counters.opened - counters.closed_sum(), links as u64, "each is opened once and closed once");
        }
    }
}

fn dial(table: &mut Table<u16>, model: &mut Model, peer: u16, now: Instant) -> Result<(), TestCaseError> {
    let known = table.state(&peer);
    match table.dial(&peer, now) {
        Ok(Dial::Known(state)) => prop_assert_eq!(Some(state), known),
        Ok(Dial::Wait(until)) => {
            prop_assert!(known.is_none() && until > now && until <= now + Duration::from_secs(30));
        }
        Ok(Dial::Go { evicted }) => {
            prop_assert!(known.is_none(), "one dial per peer");
            prop_assert_eq!(model.room(), Ok(evicted));
            model.rows.push(Row { peer, last: now, link: None, busy: false });
        }
        Err(full) => {
            prop_assert!(known.is_none());
            prop_assert_eq!(model.room(), Err(full));
        }
    }
    Ok(())
}

fn up(table: &mut Table<u16>, model: &mut Model, peer: u16, now: Instant) -> Result<(), TestCaseError> {
    let before = model.remove(peer);
    match table.up(&peer, now) {
        Ok(Admitted { link, replaced, evicted }) => {
            prop_assert_eq!(replaced, before.as_ref().and_then(|row| row.link));
            prop_assert_eq!(if before.is_some() { Ok(None) } else { model.room() }, Ok(evicted));
            model.rows.push(Row { peer, last: now, link: Some(link), busy: false });
        }
        Err(full) => {
            prop_assert!(before.is_none());
            prop_assert_eq!(model.room(), Err(full));
        }
    }
    Ok(())
}

#[test]
fn twelve_hundred_peers_share_a_thousand_links() {
    let mut table = Table::new(config(1_000), 7);
    let start = Instant::now();
    let mut evicted = Vec::new();
    for peer in 0..1_200_u32 {
        let now = start + Duration::from_millis(peer.into());
        match table.dial(&peer, now).expect("an idle one makes room") {
            Dial::Go { evicted: gone } => evicted.extend(gone.map(|(peer, _)| peer)),
            other => panic!("{other:?}"),
        }
        assert_eq!(table.state(&peer), Some(State::Dialling));
        table.up(&peer, now).expect("its place was kept");
        assert!(table.len() <= 1_000);
    }
    assert_eq!(evicted, (0..200).collect::<Vec<_>>(), "the least recently used went first");
    assert_eq!(table.counters().closed(Closed::Evicted), 200);

    // Every second one has traffic later; the others are gone after the limit, and not before.
    let later = start + Duration::from_secs(100);
    table.refresh((200..1_200).rev().step_by(2).map(|peer| (peer, later, false)).collect());
    assert_eq!(table.sweep(start + IDLE).len(), 0);
    let gone = table.sweep(start + IDLE + Duration::from_secs(2));
    assert_eq!(gone.len(), 500);
    assert!(gone.iter().all(|(peer, _)| peer % 2 == 0));
    assert_eq!(table.sweep(later + IDLE).len(), 500);
    assert_eq!((table.len(), table.next_sweep()), (0, None));
    assert_eq!(table.counters().closed(Closed::Idle), 1_000);
}

#[test]
fn busy_links_are_never_evicted() {
    let mut table = Table::new(config(3), 1);
    let now = Instant::now();
    for peer in 0..3 {
        table.up(&peer, now).expect("there is room");
        table.set_busy(&peer, true);
    }
    assert_eq!(table.up(&9, now), Err(PoolFull { max: 3 }));
    assert_eq!(table.dial(&9, now), Err(PoolFull { max: 3 }));
    assert_eq!(table.counters().full, 2);
    assert!(table.sweep(now + 2 * IDLE).is_empty(), "nor are they idle");
    table.set_busy(&1, false);
    let admitted = table.up(&9, now).expect("one is not busy");
    assert_eq!(admitted.evicted.map(|(peer, _)| peer), Some(1));
}

#[test]
fn pauses_between_dials_grow_with_jitter_and_end() {
    let pauses = |seed: u64| {
        let mut table = Table::new(config(10), seed);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert!(matches!(table.dial(&1, now), Ok(Dial::Go { .. })));
            let until = table.dial_failed(&1, now).expect("it was under way");
            assert_eq!(table.dial(&1, now), Ok(Dial::Wait(until)));
            pauses.push(until - now);
            now = until;
        }
        pauses
    };
    let some = pauses(1);
    for (nth, pause) in some.iter().enumerate() {
        let full = Duration::from_millis(250 << nth.min(10)).min(Duration::from_secs(30));
        assert!(*pause >= full / 2 && *pause <= full, "{nth}: {pause:?}");
    }
    assert_eq!(some, pauses(1), "the same seed, the same pauses");
    assert_ne!(some, pauses(2));
}

#[test]
fn a_flapping_path_is_not_dialled_without_end_and_a_good_one_is_at_once() {
    let mut table = Table::new(config(10), 1);
    let now = Instant::now();
    let link = table.up(&1, now).unwrap().link;
    table.down(&1, link, Closed::Lost, now + Duration::from_secs(1));
    assert!(matches!(table.dial(&1, now + Duration::from_secs(1)), Ok(Dial::Wait(_))));
    table.forgive(&1);
    let link = table.up(&1, now).unwrap().link;
    table.down(&1, link, Closed::Lost, now + Duration::from_secs(20));
    assert!(matches!(table.dial(&1, now + Duration::from_secs(20)), Ok(Dial::Go { .. })));
}

#[test]
fn news_of_a_former_link_changes_nothing() {
    let mut table = Table::new(config(10), 1);
    let now = Instant::now();
    let first = table.up(&1, now).unwrap().link;
    let second = table.up(&1, now).unwrap();
    assert_eq!(second.replaced, Some(first));
    assert!(!table.down(&1, first, Closed::Lost, now));
    assert_eq!(table.link(&1), Some((second.link, now)));
    assert_eq!(table.counters().closed(Closed::Replaced), 1);
}
