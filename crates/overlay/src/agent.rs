//! What identify says of the program at the other end: its name, and which run of it this is.
//!
//! libp2p has no word for the latter. It tells a peer that was killed and started again from one that has a second connection:
//! `Peer::runs_as` closes what leads to the former run.

/// Between name and run.
const SEPARATOR: &str = ";run=";

/// Characters of a name that are told.
const NAME: usize = 64;

/// `name;run=1f`.
pub(crate) fn join(name: &str, run: u64) -> String {
    let name: String = name.chars().take(NAME).collect();
    format!("{name}{SEPARATOR}{run:x}")
}

/// Name and run. A program that tells none may be anything that speaks libp2p.
pub(crate) fn split(agent: &str) -> (&str, Option<u64>) {
    match agent.rsplit_once(SEPARATOR) {
        Some((name, run)) => match u64::from_str_radix(run, 16) {
            Ok(run) => (name, Some(run)),
            Err(_) => (agent, None),
        },
        None => (agent, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_split() {
        for name in ["sinew/0.1.0", "", "a;run=b", "ä"] {
            assert_eq!(split(&join(name, u64::MAX)), (name, Some(u64::MAX)));
        }
        assert_eq!(join(&"x".repeat(100), 0).len(), NAME + SEPARATOR.len() + 1);
    }

    #[test]
    fn others_tell_no_run() {
        for agent in ["", "rust-libp2p/0.57", "a;run=", "a;run=xyz", "a;run=11112222333344445"] {
            assert_eq!(split(agent), (agent, None));
        }
    }
}
