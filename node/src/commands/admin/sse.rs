//! Server-sent events, taken apart as they come in: <https://html.spec.whatwg.org/multipage/server-sent-events.html>, but
//! for what a stream of frames does not need (ids, retry times).

use std::collections::VecDeque;

/// Largest event; a frame of 64 nodes with everything at its bound is far smaller.
const MAX_EVENT: usize = 16 << 20;

/// What was sent is larger than an event may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT} bytes")]
pub(super) struct TooLarge;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// `message` unless it says otherwise.
    pub(super) name: String,
    pub(super) data: String,
}

/// Puts lines together to events. Holds at most one event and one line.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last line ended with CR: an LF now belongs to it.
    after_cr: bool,
    name: String,
    data: String,
    whole: VecDeque<Event>,
}

impl Parser {
    /// Takes what came in; [`Self::next`] has what it made whole.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    self.end_of_line(&String::from_utf8_lossy(&line));
                }
                _ if self.line.len() + self.data.len() >= MAX_EVENT => return Err(TooLarge),
                _ => self.line.push(byte),
            }
            self.after_cr = byte == b'\r';
        }
        Ok(())
    }

    /// The next whole event.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.whole.pop_front()
    }

    fn end_of_line(&mut self, line: &str) {
        if line.is_empty() {
            let (name, mut data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            if data.pop().is_some() {
                let name = if name.is_empty() { "message".to_owned() } else { name };
                self.whole.push_back(Event { name, data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            // A comment, or of no use here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(parser: &mut Parser) -> Vec<(String, String)> {
        std::iter::from_fn(|| parser.next()).map(|event| (event.name, event.data)).collect()
    }

    const STREAM: &str = "retry: 1000\n\nevent: frame\nid: 1\ndata: {\"v\":1}\n\n: a comment\ndata:two\r\ndata\r\ndata:  lines\r\n\r\n\
                          event: empty\n\nevent:\rdata: ü\r\rdata: never ended";

    fn expected() -> Vec<(String, String)> {
        let pairs = [("frame", "{\"v\":1}"), ("message", "two\n\n lines"), ("message", "ü")];
        pairs.map(|(name, data)| (name.to_owned(), data.to_owned())).into()
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for part in STREAM.as_bytes().chunks(size) {
                parser.push(part).expect("is small");
                found.extend(events(&mut parser));
            }
            assert_eq!(found, expected(), "in parts of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_refused_at_the_bound() {
        let line = [b"data: ".as_slice(), &[b'x'; 1 << 20], b"\n"].concat();
        let mut parser = Parser::default();
        let refused = (0..32).find(|_| parser.push(&line).is_err());
        assert!(matches!(refused, Some(14..=16)), "{refused:?}");
        let mut parser = Parser::default();
        assert_eq!((0..32).find(|_| parser.push(&[b'x'; 1 << 20]).is_err()), Some(16));
    }

    #[test]
    fn what_is_no_text_does_no_harm() {
        let mut parser = Parser::default();
        parser.push(b"data: \xff\x00\n\n").expect("is small");
        assert_eq!(events(&mut parser), [("message".to_owned(), "\u{fffd}\0".to_owned())]);
    }
}
