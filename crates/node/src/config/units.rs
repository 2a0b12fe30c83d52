//! Sizes and durations the way people write them.

use std::time::Duration;

const BINARY: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const DECIMAL: [(&str, u64); 5] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

/// Bytes from `4MiB`, `4 MiB`, `1.5GiB`, `64kB`, `512B` or `512`. Letter case does not matter.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let factor = match unit {
        "" => 1,
        unit => BINARY
            .iter()
            .chain(&DECIMAL)
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor)
            .ok_or_else(|| format!("unknown unit {unit:?}: sizes are written like 512B, 64KiB, 4MiB, 1GiB"))?,
    };
    let digits = digits.trim_end().replace('_', "");
    let invalid = || format!("{text:?} is not a size: write it like 512B, 64KiB, 4MiB, 1GiB");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || fraction.len() > 9 {
        return Err(invalid());
    }
    let whole: u64 = whole.parse().map_err(|_| invalid())?;
    let mut bytes = u128::from(whole) * u128::from(factor);
    if !fraction.is_empty() {
        let numerator: u128 = fraction.parse().map_err(|_| invalid())?;
        bytes += numerator * u128::from(factor) / 10_u128.pow(fraction.len() as u32);
    }
    u64::try_from(bytes).map_err(|_| format!("{text:?} is more than 64 bits can count"))
}

/// The shortest exact form that [`parse_size`] reads back.
pub fn format_size(bytes: u64) -> String {
    let unit = BINARY.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A duration from `250ms`, `5s`, `2m`, `1h 30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if !text.is_empty() && text != "0" && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{text:?} needs a unit: write it like {text}s or {text}ms"));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration: write it like 250ms, 5s, 2m, 1h 30m"))
}

/// A form that [`parse_duration`] reads back.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("4 MiB", 4 << 20),
            ("4mib", 4 << 20),
            ("1.5GiB", 3 << 29),
            ("64kB", 64_000),
            ("65_536", 65_536),
            (" 1TiB ", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5.2MiB", "4 parsecs", "1.MiBB", "99999999TiB", "1.1234567890KiB", "ä"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("60"), Err("\"60\" needs a unit: write it like 60s or 60ms".to_owned()));
        assert!(parse_duration("").is_err());
        assert!(parse_duration("soon").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64, ms in 0..u64::from(u32::MAX)) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text: String) {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }
    }
}
