//! No cause floods the log: a line that is said again and again is held back, counted, and the count is said.
//!
//! A cause is a place in the program that says something (`warn!` in some line), whatever its fields are. Within a window it
//! may say [`BURST`] lines; the first line after the window has `suppressed`, how many were held back. Where no such line
//! comes, [`Suppressed::report`] says it. Debug and trace are never held back: who asks for them wants all.
//!
//! Memory is bounded by the number of places in the program that say something.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Lines that a cause may say within a window.
const BURST: u32 = 20;

/// How long a window is. It begins with a line.
const WINDOW: Duration = Duration::from_secs(10);

/// What the report itself says is never held back: it is at most a line for each cause and window.
const REPORT: &str = "sinew::log";

/// How often each cause has spoken.
#[derive(Debug)]
struct Limiter<C> {
    causes: HashMap<C, Said>,
}

#[derive(Debug)]
struct Said {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl<C: Copy + Eq + Hash> Limiter<C> {
    fn new() -> Self {
        Self { causes: HashMap::new() }
    }

    /// Whether a cause may say a line now, and then how many were held back since its last one.
    fn admit(&mut self, cause: C, now: Instant) -> Option<u64> {
        let said = self.causes.entry(cause).or_insert(Said { since: now, lines: 0, suppressed: 0 });
        if now.saturating_duration_since(said.since) >= WINDOW {
            (said.since, said.lines) = (now, 0);
        }
        if said.lines >= BURST {
            said.suppressed += 1;
            return None;
        }
        said.lines += 1;
        Some(std::mem::take(&mut said.suppressed))
    }

    /// The causes that were held back in a window that is over, and how often; each is told once.
    fn overdue(&mut self, now: Instant) -> Vec<(C, u64)> {
        let over = |said: &Said| said.suppressed > 0 && now.saturating_duration_since(said.since) >= WINDOW;
        let causes = self.causes.iter_mut().map(|(cause, said)| (*cause, said)).filter(|(_, said)| over(said));
        causes.map(|(cause, said)| (cause, std::mem::take(&mut said.suppressed))).collect()
    }
}

/// A place that says something.
#[derive(Debug, Clone, Copy)]
struct Place(&'static Metadata<'static>);

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.0.callsite() == other.0.callsite()
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.callsite().hash(state);
    }
}

/// What was held back, for who reports it.
#[derive(Debug, Clone)]
pub(crate) struct Suppressed(Arc<Mutex<Limiter<Place>>>);

impl Suppressed {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Limiter::new())))
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter<Place>> {
        self.0.lock()
    }

    /// Says what was held back and not yet told of. To be called now and then, and at the end.
    pub(crate) fn report(&self) {
        let overdue = self.limiter().overdue(Instant::now());
        for (Place(metadata), suppressed) in overdue {
            let place = format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
            warn!(target: REPORT, cause = metadata.target(), place, suppressed, "lines of one cause were held back");
        }
    }

    /// Reports for as long as it is polled.
    pub(crate) async fn keep_reporting(self) {
        loop {
            tokio::time::sleep(WINDOW).await;
            self.report();
        }
    }
}

/// How a count is written into a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Text,
    Json,
}

/// A format of lines, and which of them are written at all.
#[derive(Debug)]
pub(super) struct Limited<F> {
    pub(super) format: F,
    pub(super) style: Style,
    pub(super) suppressed: Suppressed,
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == REPORT {
            return self.format.format_event(ctx, writer, event);
        }
        let admitted = self.suppressed.limiter().admit(Place(metadata), Instant::now());
        match admitted {
            // A line of nothing: nothing is written.
            None => Ok(()),
            Some(0) => self.format.format_event(ctx, writer, event),
            Some(suppressed) => {
                let mut line = String::new();
                self.format.format_event(ctx, Writer::new(&mut line), event)?;
                writer.write_str(&counted(&line, suppressed, self.style))
            }
        }
    }
}

/// The line with the count in it.
fn counted(line: &str, suppressed: u64, style: Style) -> String {
    let line = line.trim_end();
    match (style, line.strip_suffix('}')) {
        (Style::Json, Some(object)) => format!("{object},\"suppressed\":{suppressed}}}\n"),
        _ => format!("{line} suppressed={suppressed}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use proptest::prelude::*;
    use tracing::{debug, subscriber::with_default};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().clone();
            String::from_utf8(bytes).expect("is text").lines().map(str::to_owned).collect()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Runs this with a log, and gives what it has written.
    fn log(json: bool, work: impl FnOnce(&Suppressed)) -> Vec<String> {
        let (kept, suppressed) = (Kept::default(), Suppressed::new());
        let given = suppressed.clone();
        let builder = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_writer(kept.clone()).with_ansi(false);
        let work = || work(&suppressed);
        if json {
            let limited = |format| Limited { format, style: Style::Json, suppressed: given };
            with_default(builder.json().flatten_event(true).map_event_format(limited).finish(), work);
        } else {
            let limited = |format| Limited { format, style: Style::Text, suppressed: given };
            with_default(builder.map_event_format(limited).finish(), work);
        }
        kept.lines()
    }

    /// As if a window had passed.
    fn pass(suppressed: &Suppressed) {
        let mut limiter = suppressed.limiter();
        limiter
            .causes
            .values_mut()
            .for_each(|said| said.since = said.since.checked_sub(WINDOW).expect("the host runs"));
    }

    #[test]
    fn a_warning_said_10_000_times_does_not_flood() {
        for json in [false, true] {
            let lines = log(json, |suppressed| {
                let flood = |n| warn!(n, "again");
                (0..10_000).for_each(flood);
                warn!("something else");
                pass(suppressed);
                flood(10_000);
            });
            assert_eq!(lines.len(), BURST as usize + 2, "{lines:?}");
            assert!(lines[BURST as usize].contains("something else"), "{lines:?}");
            let last = &lines[BURST as usize + 1];
            if json {
                let value: serde_json::Value = serde_json::from_str(last).expect("is JSON");
                assert_eq!((&value["n"], &value["suppressed"]), (&10_000.into(), &9_980.into()), "{last}");
            } else {
                assert!(last.ends_with("again n=10000 suppressed=9980"), "{last}");
            }
        }
    }

    #[test]
    fn what_is_never_said_again_is_reported() {
        let lines = log(false, |suppressed| {
            (0..BURST + 5).for_each(|_| warn!("again"));
            suppressed.report();
            pass(suppressed);
            suppressed.report();
            suppressed.report();
        });
        assert_eq!(lines.len(), BURST as usize + 1, "once, and not before its time: {lines:?}");
        let report = &lines[BURST as usize];
        assert!(
            report.contains("held back") && report.contains("limit.rs:") && report.ends_with("suppressed=5"),
            "{report}"
        );
    }

    #[test]
    fn who_asks_for_details_gets_all_of_them() {
        assert_eq!(log(false, |_| (0..1_000).for_each(|n| debug!(n, "detail"))).len(), 1_000);
    }

    proptest! {
        /// Each line is either said or counted, and no window has more than the burst.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0_u8..3, 0_u64..4_000, any::<bool>()), 1..400)) {
            let mut limiter = Limiter::new();
            let mut now = Instant::now();
            let mut sums: HashMap<u8, (u64, u64, u64)> = HashMap::new();
            let mut said: HashMap<u8, Vec<Instant>> = HashMap::new();
            for (cause, pause, report) in steps {
                now += Duration::from_millis(pause / 10);
                let (asked, lines, told) = sums.entry(cause).or_default();
                *asked += 1;
                if let Some(suppressed) = limiter.admit(cause, now) {
                    *lines += 1;
                    *told += suppressed;
                    said.entry(cause).or_default().push(now);
                }
                if report {
                    for (cause, suppressed) in limiter.overdue(now) {
                        prop_assert!(suppressed > 0);
                        sums.entry(cause).or_default().2 += suppressed;
                    }
                }
            }
            for (cause, suppressed) in limiter.overdue(now + WINDOW) {
                sums.entry(cause).or_default().2 += suppressed;
            }
            for (cause, (asked, lines, told)) in sums {
                prop_assert_eq!(asked, lines + told, "cause {}", cause);
            }
            for times in said.into_values() {
                // Two windows may follow each other at once; three do not.
                for (place, time) in times.iter().enumerate() {
                    let within = times[place..].iter().take_while(|later| **later < *time + WINDOW).count();
                    prop_assert!(within <= 2 * BURST as usize);
                }
            }
        }
    }
}
