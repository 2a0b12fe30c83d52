use std::sync::Arc;

use sinew_wire::call::Status;
use sinew_wire::live::{Kind, Outcome};

/// Topics that the events are about; each procedure too is one of so many.
pub(crate) const TOPICS: u64 = 200;
pub(crate) const PROCEDURES: u64 = 40;

/// An event, as its number tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) kind: Kind,
    /// Which topic or procedure.
    pub(crate) name: usize,
    /// Which node has answered.
    pub(crate) provider: Option<usize>,
    pub(crate) messages: u32,
    pub(crate) outcome: Outcome,
    pub(crate) latency_us: Option<u32>,
}

/// The event with this number on the node with that, of so many nodes.
pub(crate) fn happening(node: usize, k: u64, nodes: usize) -> Happening {
    let chance = mix(k ^ (node as u64) << 48);
    let bits = mix(chance);
    // Some names are much more frequent than others.
    let skewed = |n: u64| (((bits >> 8 & 0xffff) as f64 / 65536.0).powi(2) * n as f64) as usize;
    if chance.is_multiple_of(3) {
        let outcome = match bits % 200 {
            0 => Outcome::Failed(Status::TimedOut),
            1 => Outcome::Failed(Status::Overloaded),
            _ => Outcome::Ok,
        };
        let provider =
            (!matches!(outcome, Outcome::Failed(Status::Overloaded))).then_some((bits >> 40) as usize % nodes);
        let latency_us = Some(latency(chance, 7.0, 0.8));
        return Happening { kind: Kind::Call, name: skewed(PROCEDURES), provider, messages: 1, outcome, latency_us };
    }
    let outcome = match bits % 100 {
        0 => Outcome::Dropped,
        1..5 => Outcome::Unheard,
        _ => Outcome::Ok,
    };
    let latency_us = bits.is_multiple_of(2).then(|| latency(chance, 5.5, 0.5));
    let messages = 1 + (bits >> 32 & 3) as u32;
    Happening { kind: Kind::Publish, name: skewed(TOPICS), provider: None, messages, outcome, latency_us }
}

/// The names of the topics and those of the procedures.
pub(crate) fn names() -> [Vec<Arc<str>>; 2] {
    [("plant.line", TOPICS), ("math", PROCEDURES)]
        .map(|(name, n)| (0..n).map(|k| format!("{name}.{k}").into()).collect())
}

pub(crate) fn region(node: usize) -> &'static str {
    ["eu", "us", "ap"][node % 3]
}

/// Lognormal, in microseconds (the sum of twelve uniform numbers is close to a normal one).
fn latency(chance: u64, mean: f64, sigma: f64) -> u32 {
    let uniform = |k: u64| (mix(chance.wrapping_add(k)) >> 11) as f64 / (1_u64 << 53) as f64;
    let normal = (1..=12).map(uniform).sum::<f64>() - 6.0;
    (mean + sigma * normal).exp() as u32
}

/// A number from a number (splitmix64: Steele, Lea, Flood).
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}
