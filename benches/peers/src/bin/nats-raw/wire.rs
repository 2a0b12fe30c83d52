//! The few words of the NATS client protocol that publishing and subscribing need.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, bail, ensure};
use memchr::memchr;

const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false,\"lang\":\"raw\",\"version\":\"0\"}\r\n";

/// Connects and waits until the server has taken the connection.
pub fn connect(server: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).with_context(|| format!("connect to {server}"))?;
    stream.set_nodelay(true)?;
    stream.write_all(CONNECT)?;
    round_trip(&mut stream)?;
    Ok(stream)
}

/// Waits until the server has read everything sent so far. Only for a
/// connection on which no message can arrive.
pub fn round_trip(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(b"PING\r\n")?;
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        ensure!(stream.read(&mut byte)? == 1, "the server closed the connection");
        if byte[0] != b'\n' {
            line.push(byte[0]);
            continue;
        }
        match line.trim_ascii() {
            b"PONG" => return Ok(()),
            b"PING" => stream.write_all(b"PONG\r\n")?,
            error if error.starts_with(b"-ERR") => bail!("the server said {}", String::from_utf8_lossy(error)),
            _ => {}
        }
        line.clear();
    }
}

/// One thing the server sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Op<'a> {
    Message { subscription: u64, payload: &'a [u8] },
    Ping,
    Error(&'a [u8]),
    Other,
}

/// Takes the first whole operation off `input`; `None` if it is not whole yet.
pub fn next_op<'a>(input: &mut &'a [u8]) -> anyhow::Result<Option<Op<'a>>> {
    let whole: &'a [u8] = input;
    let Some(end) = memchr(b'\n', whole) else { return Ok(None) };
    let (line, rest) = (whole[..end].trim_ascii_end(), &whole[end + 1..]);
    if let Some(head) = line.strip_prefix(b"MSG ") {
        let (subscription, len) = message_head(head).context("a message head that is not one")?;
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        let Some(rest) = rest.get(len + 2..) else { return Ok(None) };
        *input = rest;
        return Ok(Some(Op::Message { subscription, payload }));
    }
    *input = rest;
    Ok(Some(match line {
        b"PING" => Op::Ping,
        _ if line.starts_with(b"-ERR") => Op::Error(line),
        _ => Op::Other,
    }))
}

/// Subscription and length of `subject sid [reply] length`.
fn message_head(head: &[u8]) -> Option<(u64, usize)> {
    let after_subject = memchr(b' ', head)? + 1;
    let (subscription, rest) = number(&head[after_subject..]);
    let mut length = rest.strip_prefix(b" ")?;
    if let Some(space) = memchr(b' ', length) {
        length = &length[space + 1..];
    }
    let (length, rest) = number(length);
    rest.is_empty().then_some((subscription, length as usize))
}

/// The number `text` begins with, and what follows it.
fn number(text: &[u8]) -> (u64, &[u8]) {
    let mut value = 0u64;
    for (at, &byte) in text.iter().enumerate() {
        if !byte.is_ascii_digit() {
            return (value, &text[at..]);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
    }
    (value, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_taken_whole() {
        let text = b"PING\r\nMSG a.b 17 5\r\nhello\r\nMSG a.b 2 re.ply 0\r\n\r\n+OK\r\n-ERR 'x'\r\n";
        let mut input = &text[..];
        let mut next = || next_op(&mut input).unwrap();
        assert_eq!(next(), Some(Op::Ping));
        assert_eq!(next(), Some(Op::Message { subscription: 17, payload: b"hello" }));
        assert_eq!(next(), Some(Op::Message { subscription: 2, payload: b"" }));
        assert_eq!(next(), Some(Op::Other));
        assert_eq!(next(), Some(Op::Error(b"-ERR 'x'")));
        assert_eq!(next(), None);
    }

    #[test]
    fn half_a_message_waits() {
        let text = b"MSG a 1 5\r\nhello\r\n";
        for cut in 0..text.len() {
            let mut input = &text[..cut];
            assert_eq!(next_op(&mut input).unwrap(), None);
            assert_eq!(input.len(), cut);
        }
    }
}
