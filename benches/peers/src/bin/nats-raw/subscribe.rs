use std::io::{ErrorKind, Read, Write};

use anyhow::{bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use sinew_peers::{Receipts, SILENCE, SubscribeOptions, now_ns, print_ready};

use crate::wire::{self, Op};

/// Bytes of one read.
const READ: usize = 1 << 20;

/// Subscribes, counts until everything or silence came, and reports.
pub fn run(options: &SubscribeOptions) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut connections = connect_all(options)?;
    for (token, connection) in connections.iter_mut().enumerate() {
        poll.registry().register(&mut connection.stream, Token(token), Interest::READABLE)?;
    }
    print_ready();

    let mut receipts = Receipts::new(options);
    let mut buffer = vec![0; READ];
    let mut events = Events::with_capacity(1024);
    while !receipts.is_complete() && !receipts.is_silent() {
        match poll.poll(&mut events, Some(SILENCE)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            connections[event.token().0].drain(&mut buffer, &mut receipts)?;
        }
    }
    receipts.print();
    Ok(())
}

/// One connection. Its subscriptions have the numbers of their subscribers.
struct Connection {
    stream: TcpStream,
    /// The beginning of an operation whose end has not come yet.
    rest: Vec<u8>,
}

fn connect_all(options: &SubscribeOptions) -> anyhow::Result<Vec<Connection>> {
    options
        .connections()
        .map(|subscribers| {
            let mut stream = wire::connect(&options.server)?;
            let subscribe: String = subscribers.map(|id| format!("SUB {} {id}\r\n", options.pattern)).collect();
            stream.write_all(subscribe.as_bytes())?;
            wire::round_trip(&mut stream)?;
            stream.set_nonblocking(true)?;
            Ok(Connection { stream: TcpStream::from_std(stream), rest: Vec::new() })
        })
        .collect()
}

impl Connection {
    /// Reads until nothing is left and counts the messages.
    fn drain(&mut self, buffer: &mut [u8], receipts: &mut Receipts) -> anyhow::Result<()> {
        loop {
            let kept = self.rest.len();
            ensure!(kept < buffer.len(), "an operation longer than {READ} bytes");
            buffer[..kept].copy_from_slice(&self.rest);
            let read = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => bail!("the server closed the connection (a slow consumer?)"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let drained = kept + read < buffer.len();
            let mut input = &buffer[..kept + read];
            let now = now_ns();
            while let Some(op) = wire::next_op(&mut input)? {
                match op {
                    Op::Message { subscription, payload } => {
                        receipts.take(subscription as usize, payload, now);
                    }
                    Op::Ping => self.stream.write_all(b"PONG\r\n")?,
                    Op::Error(error) => bail!("the server said {}", String::from_utf8_lossy(error)),
                    Op::Other => {}
                }
            }
            self.rest.clear();
            self.rest.extend_from_slice(input);
            // Less than asked for: the socket is empty, and will be announced again.
            if drained {
                return Ok(());
            }
        }
    }
}
