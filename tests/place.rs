//! Where a process runs: on this host, or in a network namespace of its own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tokio::process::Command;

/// How long a connection to an admin server may take. A server that is there answers at once.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a process of a test runs.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// Beside the test.
    #[default]
    Host,
    /// In the network namespace of this name. Takes root.
    Namespace(Arc<str>),
}

impl Place {
    /// A command that runs `program` there. Its process is that of the program, so that signals reach it, and it is
    /// killed when the handle is dropped.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match self {
            Self::Host => Command::new(program),
            Self::Namespace(name) => {
                // It replaces itself with the program.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).env_remove("RUST_LOG").kill_on_drop(true);
        command
    }

    /// Connects to an address as it is seen from there.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let Self::Namespace(name) = self else {
            return TcpStream::connect(address).await;
        };
        // A socket belongs to the namespace of the thread that makes it, for ever: a thread goes there and does only that.
        let file = std::fs::File::open(format!("/run/netns/{name}"))?;
        let connecting = tokio::task::spawn_blocking(move || {
            let there = std::thread::spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                std::net::TcpStream::connect_timeout(&address, CONNECT)
            });
            there.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))?
        });
        let stream = connecting.await.map_err(io::Error::other)??;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}
