//! Choice among the providers of a procedure: latency, load, breakers, retry budget, without I/O.
//!
//! A [`Balancer`] knows the instances that provide one procedure, as one calling node sees them. It is told of each
//! call that begins and ends, and says which instance takes the next one:
//!
//! - *Balanced*, the better of two taken at random: the one that answers sooner, counting the calls under way.
//!   Latencies within a factor of each other ([`BalanceConfig::alike`]) count as equal, so that equals share evenly.
//!   Instances on the caller's own node come first while they have room.
//! - *Breakers*: an instance that fails several times in a row gets no calls for a while, then one at a time until it
//!   has answered.
//! - *Slow start*: a newcomer among others begins with a small share.
//! - [`RetryBudget`] bounds the second attempts to a part of the first ones, so that retries can't multiply an
//!   overload.
//!
//! A choice takes constant time and allocates nothing, however many instances there are. This crate is pure: time comes
//! in as an argument, chance from the seed.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use sinew_balance::{BalanceConfig, Balancer, Candidate, Choice, InstanceId, Outcome};
//! use sinew_wire::{PeerId, ProviderHealth};
//!
//! let mut now = Instant::now();
//! let node = PeerId::from_public_key([7; 32]);
//! let candidate = |id| Candidate { local: true, ..Candidate::new(InstanceId { node, id }) };
//! let mut balancer = Balancer::new(BalanceConfig::default(), 42);
//! balancer.set(&[candidate(1), candidate(2)], now);
//!
//! let pick = balancer.choose(Choice::default(), &[], now).expect("somebody provides it");
//! balancer.started(&pick, now);
//! now += Duration::from_micros(80);
//! let latency = Duration::from_micros(80);
//! balancer.finished(&pick, Outcome::Success { latency, load: 1, health: ProviderHealth::Good }, now);
//! assert_eq!(balancer.in_flight(), 0);
//! ```

#![warn(missing_docs)]

mod balancer;
mod breaker;
mod budget;
mod candidate;
mod chance;
mod config;
mod latency;
mod member;
mod pool;
mod ring;

pub use balancer::Balancer;
pub use budget::{RetryBudget, RetryConfig};
pub use candidate::{BreakerState, Candidate, Choice, InstanceId, InstanceView, Outcome, Pick};
pub use config::{BalanceConfig, BreakerConfig};
