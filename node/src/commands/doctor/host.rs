//! What the host gives to a node: buffers and files.

use std::io;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

use super::report::Line;

/// Files a node has open beside its links.
const OTHER_FILES: u64 = 256;

/// Most and least of what was asked for: what the kernel grants a socket.
pub(super) fn udp_buffers(asked: usize) -> Line {
    match granted(asked) {
        Ok(granted) => judge_buffers(asked, granted),
        Err(error) => Line::unknown("udp buffers", format!("no UDP socket to try them with: {error}")),
    }
}

fn judge_buffers(asked: usize, granted: usize) -> Line {
    let kib = |bytes: usize| bytes >> 10;
    if granted >= asked {
        return Line::passed("udp buffers", format!("{} KiB, as a node asks for", kib(asked)));
    }
    Line::failed(
        "udp buffers",
        format!("a node asks for {} KiB and gets {}: bursts on busy QUIC links get lost", kib(asked), kib(granted)),
        format!("sysctl -w net.core.rmem_max={asked} net.core.wmem_max={asked}, and the same in /etc/sysctl.d"),
    )
}

/// The smaller one of both directions, in bytes of payload.
fn granted(asked: usize) -> io::Result<usize> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(asked)?;
    socket.set_send_buffer_size(asked)?;
    let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    // Linux reports twice what it grants, for its own book-keeping.
    Ok(if cfg!(target_os = "linux") { granted / 2 } else { granted })
}

/// Files that the clients and the links to other nodes may need at once.
pub(super) fn files_needed(max_clients: usize, pool_max: usize) -> u64 {
    (max_clients as u64).saturating_add(pool_max as u64).saturating_add(OTHER_FILES)
}

/// The hard limit of open files: that of the process behind the node's socket if it can be read, or else our own.
pub(super) fn open_files(node: Option<u32>, needed: u64) -> Line {
    let of_node = node.and_then(|pid| Some((hard_limit(Path::new("/proc"), pid)?, "the node")));
    let own = || (rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum, "this shell");
    let (limit, whose) = of_node.unwrap_or_else(own);
    judge_files(limit, whose, needed)
}

fn judge_files(limit: Option<u64>, whose: &str, needed: u64) -> Line {
    match limit {
        Some(limit) if limit < needed => Line::failed(
            "open files",
            format!("{whose} may have {limit} open files; max_clients and pool_max need {needed}"),
            format!(
                "LimitNOFILE={needed} in the systemd unit, or ulimit -Hn {needed} before the start; \
                 or a lower limits.max_clients"
            ),
        ),
        Some(limit) => Line::passed("open files", format!("{whose} may have {limit}, {needed} are needed at most")),
        None => Line::passed("open files", format!("{whose} has no limit")),
    }
}

/// The hard limit of a process; `None` outside if it can't be read, inside if there is none.
fn hard_limit(proc: &Path, pid: u32) -> Option<Option<u64>> {
    let limits = std::fs::read_to_string(proc.join(pid.to_string()).join("limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn small_buffers_fail_and_large_ones_pass() {
        let small = judge_buffers(4 << 20, 208 << 10);
        assert_eq!(small.verdict, Verdict::Failed);
        assert!(small.mend.is_some_and(|mend| mend.contains("net.core.rmem_max=4194304")));
        assert_eq!(judge_buffers(4 << 20, 4 << 20).verdict, Verdict::Passed);
        assert_eq!(udp_buffers(16 << 10).verdict, Verdict::Passed, "every system has so much");
        assert_eq!(udp_buffers(1 << 30).verdict, Verdict::Failed, "and no one so much");
    }

    #[test]
    fn too_few_files_fail() {
        assert_eq!(judge_files(Some(1_024), "it", files_needed(10_000, 1_000)).verdict, Verdict::Failed);
        assert_eq!(judge_files(Some(11_256), "it", files_needed(10_000, 1_000)).verdict, Verdict::Passed);
        assert_eq!(judge_files(None, "it", u64::MAX).verdict, Verdict::Passed);
    }

    #[test]
    fn the_limit_of_another_process_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |pid: &str, line: &str| {
            std::fs::create_dir(dir.path().join(pid)).expect("a directory");
            std::fs::write(dir.path().join(pid).join("limits"), line).expect("a file");
        };
        write("7", "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  524288  files\n");
        write("8", "Max open files            1024                 unlimited            files\n");
        assert_eq!(hard_limit(dir.path(), 7), Some(Some(524_288)));
        assert_eq!(hard_limit(dir.path(), 8), Some(None));
        assert_eq!(hard_limit(dir.path(), 9), None);
    }
}
