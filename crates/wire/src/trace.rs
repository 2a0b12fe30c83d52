//! Trace context, as headers of messages and calls carry it: [W3C Trace Context](https://www.w3.org/TR/trace-context/),
//! `00-<32 hex>-<16 hex>-<2 hex>`.

use std::fmt;

use crate::Headers;

/// The header that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// Length of what version 00 puts into the header. Later versions begin with the same.
const LEN: usize = 55;

/// Where the id of the parent stands in it.
const PARENT_AT: usize = 36;

/// Where in a distributed trace something was caused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The whole trace; not zero.
    pub trace: [u8; 16],
    /// The span that caused it; not zero.
    pub span: [u8; 8],
    /// Bit 0: who began the trace records it.
    pub flags: u8,
}

impl TraceContext {
    /// Reads the value of the header; `None` for what is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (text, after) = value.split_at_checked(LEN)?;
        let version = hex::<1>(&text[..2])?[0];
        let is_whole = if version == 0 { after.is_empty() } else { after.is_empty() || after[0] == b'-' };
        if version == u8::MAX || !is_whole || [text[2], text[35], text[52]] != *b"---" {
            return None;
        }
        let context =
            Self { trace: hex(&text[3..35])?, span: hex(&text[PARENT_AT..52])?, flags: hex::<1>(&text[53..])?[0] };
        (context.trace != [0; 16] && context.span != [0; 8]).then_some(context)
    }

    /// That of these headers, if whoever began the trace records it.
    pub fn sampled(headers: &Headers<'_>) -> Option<Self> {
        Self::parse(headers.get(TRACEPARENT)?).filter(|context| context.flags & 1 == 1)
    }
}

/// The value of the header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

/// Writes another parent into the context of these headers, of which `block` is a copy: whoever gets them next was caused by
/// that span. Leaves alone what holds no context.
pub(crate) fn set_parent(headers: &Headers<'_>, block: &mut [u8], span: [u8; 8]) {
    let Some(place) = headers.position(TRACEPARENT) else { return };
    let Some(value) = block.get_mut(place).filter(|value| TraceContext::parse(value).is_some()) else { return };
    value[PARENT_AT..PARENT_AT + 16].copy_from_slice(format!("{:016x}", u64::from_be_bytes(span)).as_bytes());
}

/// Lower-case hexadecimal of exactly so many bytes.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(digits[0])? << 4 | nibble(digits[1])?;
    }
    Some(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::encode_header;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let context = TraceContext::parse(EXAMPLE.as_bytes()).expect("it is one");
        assert_eq!((context.trace[0], context.span[7], context.flags), (0x4b, 0xb7, 1));
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn what_the_standard_forbids_is_none() {
        let later = EXAMPLE.replacen("00", "cc", 1);
        assert!(TraceContext::parse(later.as_bytes()).is_some());
        assert!(TraceContext::parse(format!("{later}-what-comes").as_bytes()).is_some());
        for wrong in [
            String::new(),
            EXAMPLE[..54].to_owned(),
            format!("{EXAMPLE}-"),
            format!("{later}x"),
            EXAMPLE.replacen("00", "ff", 1),
            EXAMPLE.to_uppercase(),
            EXAMPLE.replace('-', "_"),
            EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            EXAMPLE.replace("4bf9", "äf"),
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1..u128::MAX, span in 1..u64::MAX, flags: u8) {
            let context = TraceContext { trace: trace.to_be_bytes(), span: span.to_be_bytes(), flags };
            prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _read = TraceContext::parse(&bytes);
        }

        #[test]
        fn another_parent_changes_nothing_else(
            before in proptest::collection::vec(("[a-s]{1,9}", proptest::collection::vec(any::<u8>(), 0..20)), 0..4),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
            span in 1..u64::MAX,
        ) {
            let mut block = BytesMut::new();
            for (key, value) in &before {
                encode_header(key, value, &mut block).expect("it fits");
            }
            encode_header(TRACEPARENT, EXAMPLE.as_bytes(), &mut block).expect("it fits");
            let mut frame = rest.clone();
            frame.extend_from_slice(&block);
            frame.extend_from_slice(&rest);
            let expected = TraceContext { span: span.to_be_bytes(), ..TraceContext::parse(EXAMPLE.as_bytes()).expect("one") };
            let headers = Headers::decode(&block).expect("they are");
            set_parent(&headers, &mut frame[rest.len()..rest.len() + block.len()], expected.span);
            let changed = &frame[rest.len()..rest.len() + block.len()];
            let headers = Headers::decode(changed).expect("still headers");
            prop_assert_eq!(TraceContext::sampled(&headers), Some(expected));
            prop_assert!(headers.iter().map(|(key, value)| (key, value.to_vec())).take(before.len())
                .eq(before.iter().map(|(key, value)| (key.as_str(), value.clone()))));
            prop_assert!(frame.starts_with(&rest) && frame.ends_with(&rest));
        }
    }
}
