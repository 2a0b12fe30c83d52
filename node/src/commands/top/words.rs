//! Figures as people read them, in few columns.

/// Characters of a node's id that are shown: its end, since all ids begin alike.
const SHORT_ID: usize = 8;

/// The end of an id, which is what tells it from others.
pub(super) fn short(id: &str) -> String {
    let start = id.char_indices().rev().nth(SHORT_ID - 1).map_or(0, |(at, _)| at);
    clean(&id[start..])
}

/// Without characters that would move the cursor: names come from others.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A count or a rate: `0`, `0.5`, `950`, `12.3k`, `4.56M`.
pub(super) fn count(number: f64) -> String {
    match number {
        _ if !number.is_finite() => "-".to_owned(),
        n if n <= 0.0 => "0".to_owned(),
        n if n < 9.95 && n.fract() >= 0.05 => format!("{n:.1}"),
        n if n < 999.5 => format!("{n:.0}"),
        n => scaled(n, 1000.0, &["", "k", "M", "G", "T", "P"]),
    }
}

/// Bytes: `0 B`, `512 B`, `1.50 MiB`.
pub(super) fn bytes(number: f64) -> String {
    match number {
        _ if !number.is_finite() => "-".to_owned(),
        n if n < 999.5 => format!("{:.0} B", n.max(0.0)),
        n => scaled(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"]),
    }
}

/// Three digits and a unit.
fn scaled(mut number: f64, factor: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < units.len() {
        number /= factor;
        unit += 1;
    }
    let digits = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.digits$}{}", units.get(unit).unwrap_or(&"?"))
}

/// A time: `90us`, `1.25ms`, `3.00s`; `-` where there is none.
pub(super) fn micros(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1000 => format!("{us}us"),
        Some(us) if us < 999_500 => format!("{}ms", scaled(us as f64 / 1e3, f64::MAX, &[""])),
        Some(us) => format!("{}s", scaled(us as f64 / 1e6, f64::MAX, &[""])),
    }
}

/// How long something has lasted: `45s`, `12m30s`, `5h20m`, `3d4h`.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// The time of day, in UTC: nodes may stand anywhere.
pub(super) fn clock(unix_ms: u64) -> String {
    let (ms, seconds) = (unix_ms % 1000, unix_ms / 1000 % 86_400);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A share as percent, `-` where there is none. Never 100 while something is missing.
pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        None => "-".to_owned(),
        Some(share) if share >= 1.0 => "100 %".to_owned(),
        Some(share) => format!("{:.2} %", (share * 10_000.0).floor() / 100.0),
    }
}

/// How full something is, in percent.
pub(super) fn fill(depth: u64, capacity: u64) -> f64 {
    if capacity == 0 { 0.0 } else { depth as f64 * 100.0 / capacity as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let counts = [0.0, -0.0, 0.5, 3.0, 9.96, 42.4, 999.4, 999.6, 1234.0, 99_990.0, 123_456.0, 4.56e6, 9e30];
        let shown = counts.map(count);
        let expected = ["0", "0", "0.5", "3", "10", "42", "999", "1.00k", "1.23k", "100k", "123k", "4.56M"];
        assert_eq!(shown[..12], expected);
        assert!(shown[12].ends_with('P'), "{}", shown[12]);
        assert_eq!([f64::NAN, f64::INFINITY].map(count), ["-", "-"]);
        assert_eq!([0.0, 512.0, 1536.0, 71e6].map(bytes), ["0 B", "512 B", "1.50 KiB", "67.7 MiB"]);
    }

    #[test]
    fn times_have_their_unit() {
        let shown = [None, Some(0), Some(90), Some(1250), Some(99_960), Some(999_600), Some(61_000_000)].map(micros);
        assert_eq!(shown, ["-", "0us", "90us", "1.25ms", "100ms", "1.00s", "61.0s"]);
        assert_eq!([0, 59, 750, 19_200, 273_600].map(age), ["0s", "59s", "12m30s", "5h20m", "3d4h"]);
        assert_eq!(clock(1_732_212_345_678), "18:05:45.678");
    }

    #[test]
    fn a_success_is_not_rounded_up_to_all() {
        assert_eq!([None, Some(1.0), Some(0.99999), Some(0.0)].map(percent), ["-", "100 %", "99.99 %", "0.00 %"]);
    }

    #[test]
    fn names_can_not_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(short("12D3KooWABCDEFGHijklmnop"), "ijklmnop");
        assert_eq!([short(""), short("ü")], ["", "ü"]);
    }
}
