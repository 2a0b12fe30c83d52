//! The model on a screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span as Piece};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline};
use sinew_live::Frame as Seen;
use sinew_live::frame::NodeState;

use super::model::{Link, Model};
use super::table::{GAP, Table, Tone};
use super::views::{Span, View};
use super::words::{clean, count, micros, percent, short};

/// Rows of the throughput, with its title.
const CHART: u16 = 5;

/// Rows of a screen on which there is room for it.
const ROOM_FOR_CHART: u16 = 18;

const HELP: [&str; 13] = [
    "q         quit",
    "1 - 7     views; tab and arrows: the next one",
    "p, space  pause: what is shown stays, and nothing is lost",
    "s         sort by the next column",
    "r         the other way round",
    "w         sum over 1, 10 or 60 s",
    "/         show only what has this text; esc: all",
    "up, down  scroll; home: to the top",
    "",
    "Rates of nodes are between their last two reports, twice",
    "a second. Latencies are from request to result, DELIV P99",
    "from reading a message to handing it to the subscriber.",
    "Events are a sample; counts are exact.",
];

/// With colours, or without where somebody asked for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) color: bool,
}

impl Theme {
    fn tone(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (tone, self.color) {
            (Tone::Plain, _) | (Tone::Good, false) => plain,
            (Tone::Good, true) => plain.fg(Color::Green),
            (Tone::Warning, true) => plain.fg(Color::Yellow),
            (Tone::Warning, false) => plain.add_modifier(Modifier::BOLD),
            (Tone::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Bad, false) => plain.add_modifier(Modifier::REVERSED),
            (Tone::Dim, _) => plain.add_modifier(Modifier::DIM),
        }
    }

    fn head(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.color { bold.fg(Color::Cyan) } else { bold }
    }
}

/// Draws everything. The model learns how far it can be scrolled.
pub(super) fn draw(screen: &mut Frame<'_>, model: &mut Model, theme: Theme) {
    let chart = if model.view == View::Overview && screen.area().height >= ROOM_FOR_CHART { CHART } else { 0 };
    let seen = &model.seen().frame;
    let warned = warnings(seen);
    let rows = [1, 1, 1, u16::try_from(warned.len()).unwrap_or(0), chart];
    let [top, tabs, figured, warning, chart, body, bottom] = Layout::vertical([
        Constraint::Length(rows[0]),
        Constraint::Length(rows[1]),
        Constraint::Length(rows[2]),
        Constraint::Max(rows[3]),
        Constraint::Length(rows[4]),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(screen.area());
    screen.render_widget(title(model, theme), top);
    screen.render_widget(views(model, theme), tabs);
    screen.render_widget(Line::from(figures(seen, model.span)), figured);
    let bad = warned.into_iter().map(|words| Line::styled(words, theme.tone(Tone::Bad)));
    screen.render_widget(Paragraph::new(bad.collect::<Vec<_>>()), warning);
    if chart.height > 0 {
        throughput(screen, model, theme, chart);
    }
    model.scroll = tables(screen, model, theme, body);
    screen.render_widget(bottom_line(model, theme), bottom);
    if model.help {
        help(screen, theme);
    }
}

/// What matters most stands first: the line may be cut.
fn title(model: &Model, theme: Theme) -> Line<'static> {
    let seen = &model.seen().frame;
    let realm = if seen.realm.is_empty() { "-".to_owned() } else { clean(&seen.realm) };
    let mut line = Line::from(vec![Piece::styled("sinew top  ", theme.head())]);
    line.push_span(match &model.link {
        Link::Live => Piece::styled("live", theme.tone(Tone::Good)),
        Link::Lost(_) => Piece::styled("RECONNECTING", theme.tone(Tone::Bad)),
    });
    if model.is_paused() {
        line.push_span(Piece::styled(format!("  PAUSED, {} behind", model.behind), theme.tone(Tone::Warning)));
    }
    if let Link::Lost(reason) = &model.link {
        // Which address it is follows anyway.
        let reason = reason.strip_prefix(&format!("{}: ", model.admin)).unwrap_or(reason);
        line.push_span(format!("  {}", clean(reason)));
    }
    line.push_span(format!("  {}  realm {realm}  node {}", clean(&model.admin), short(&seen.node)));
    line
}

fn views(model: &Model, theme: Theme) -> Line<'static> {
    let views = View::ALL.iter().enumerate().map(|(place, view)| {
        let words = format!("{}{} ", place + 1, view.title());
        let style = if *view == model.view { theme.head().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Piece::styled(words, style)
    });
    Line::from(views.collect::<Vec<_>>())
}

/// The realm in one line.
pub(super) fn figures(seen: &Seen, span: Span) -> String {
    let window = span.of(&seen.windows);
    let up = seen.nodes.iter().filter(|node| node.state == NodeState::Up).count();
    let there = seen.nodes.iter().filter(|node| node.state != NodeState::Lost);
    let clients: u64 = there.map(|node| u64::from(node.clients)).sum();
    let latency = |us: Option<u32>| micros(us.map(u64::from));
    format!(
        "{up}/{} up  {} clients  {} msg/s  {} ev/s  ok {}  p50/95/99 {}/{}/{}  {} s",
        seen.nodes.len(),
        count(clients as f64),
        count(window.message_rate),
        count(window.rate),
        percent(window.success),
        latency(window.p50_us),
        latency(window.p95_us),
        latency(window.p99_us),
        span.seconds(),
    )
}

/// What should not be, in a few lines at most: nodes that are lost or not ready, and what the figures lack.
pub(super) fn warnings(seen: &Seen) -> Vec<String> {
    let names = |wanted: &dyn Fn(&sinew_live::frame::Node) -> Option<String>| {
        let names: Vec<_> = seen.nodes.iter().filter_map(wanted).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let lost = names(&|node| (node.state == NodeState::Lost).then(|| short(&node.node)));
    let red = names(&|node| {
        let failing = node.state == NodeState::Up && !node.ready;
        failing.then(|| format!("{} ({})", short(&node.node), clean(&node.failing.join(", "))))
    });
    let dropped = (seen.intake.dropped > 0)
        .then(|| format!("{} events are missing in these figures", count(seen.intake.dropped as f64)));
    let lines =
        [lost.map(|names| format!("node lost: {names}")), red.map(|names| format!("not ready: {names}")), dropped];
    lines.into_iter().flatten().collect()
}

fn throughput(screen: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let history = &model.seen().throughput;
    let shown = history.iter().skip(history.len().saturating_sub(area.width.into()));
    let values: Vec<u64> = shown.map(|rate| rate.max(0.0) as u64).collect();
    let most = values.iter().copied().max().unwrap_or(0);
    let title = format!("Messages per second, at most {}", count(most as f64));
    let [head, chart] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    screen.render_widget(Line::styled(title, theme.head()), head);
    // The newest at the right edge.
    let width = u16::try_from(values.len()).unwrap_or(chart.width).min(chart.width);
    let place = Rect { x: chart.right().saturating_sub(width), width, ..chart };
    screen.render_widget(Sparkline::default().data(&values).style(theme.tone(Tone::Good)), place);
}

/// The tables of the view, one below the other. Returns how far it is scrolled.
fn tables(screen: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) -> usize {
    let tables = model.tables();
    let needed: Vec<usize> = tables.iter().map(|table| table.rows.len().max(1) + 2).collect();
    let heights = share(&needed, area.height.into());
    let mut y = area.y;
    let mut furthest = 0;
    for (table, height) in tables.iter().zip(heights) {
        let height = u16::try_from(height).unwrap_or(0).min(area.bottom().saturating_sub(y));
        let place = Rect { y, height, ..area };
        y = y.saturating_add(height);
        let room = usize::from(height).saturating_sub(2);
        let scroll = model.scroll.min(table.rows.len().saturating_sub(room));
        furthest = furthest.max(scroll);
        let lines = lines(table, model, theme, scroll, (usize::from(area.width), usize::from(height)));
        screen.render_widget(Paragraph::new(lines), place);
    }
    furthest
}

/// Who gets how many rows: all what they need, or those that need much what the others leave.
fn share(needed: &[usize], available: usize) -> Vec<usize> {
    let mut left = available;
    let mut order: Vec<usize> = (0..needed.len()).collect();
    order.sort_by_key(|&at| needed.get(at));
    let mut given = vec![0; needed.len()];
    for (done, &at) in order.iter().enumerate() {
        let fair = left / (needed.len() - done);
        let (Some(slot), Some(&need)) = (given.get_mut(at), needed.get(at)) else { continue };
        *slot = need.min(fair);
        left -= *slot;
    }
    // What does not divide goes to the last one, which needs the most.
    if let Some(slot) = order.last().and_then(|&at| given.get_mut(at)) {
        *slot += left;
    }
    given
}

/// Title, head, and the rows from `scroll` on.
fn lines(
    table: &Table,
    model: &Model,
    theme: Theme,
    scroll: usize,
    (width, height): (usize, usize),
) -> Vec<Line<'static>> {
    let shown = table.fit(width);
    let room = height.saturating_sub(2);
    let rows = table.rows.iter().skip(scroll).take(room);
    let place = match table.rows.len() {
        all if all > room => format!(" ({}-{} of {all})", scroll + 1, (scroll + room).min(all)),
        _ => String::new(),
    };
    let mut lines = vec![Line::styled(format!("{}{place}", table.title), theme.head())];
    let gap = " ".repeat(GAP);
    let head = shown.iter().flat_map(|&(at, width)| {
        let title = table.columns.get(at).map_or("", |column| column.title);
        let mut style = Style::new().add_modifier(Modifier::BOLD);
        if model.sorted_by() == Some(title) {
            style = style.add_modifier(Modifier::REVERSED);
        }
        [Piece::styled(table.padded(at, title, width), style), gap.clone().into()]
    });
    lines.push(head.collect());
    lines.extend(rows.map(|row| {
        let cells = shown.iter().filter_map(|&(at, width)| {
            let cell = row.cells.get(at)?;
            Some([Piece::styled(table.padded(at, &cell.text, width), theme.tone(cell.tone)), gap.clone().into()])
        });
        cells.flatten().collect()
    }));
    if table.rows.is_empty() {
        let words = if model.filter.is_empty() { table.nothing } else { "nothing has the text of the filter" };
        lines.push(Line::styled(words, theme.tone(Tone::Dim)));
    }
    lines
}

fn bottom_line(model: &Model, theme: Theme) -> Line<'static> {
    if model.editing {
        return Line::styled(format!("/{}_   enter: keep, esc: clear", model.filter), theme.head());
    }
    let filter = if model.filter.is_empty() { String::new() } else { format!("  filter: {}", model.filter) };
    let words = format!("q quit  p pause  s sort  r reverse  w {} s  / filter  ? help{filter}", model.span.seconds());
    Line::styled(words, theme.tone(Tone::Dim))
}

fn help(screen: &mut Frame<'_>, theme: Theme) {
    let area = screen.area();
    let width = HELP.iter().map(|line| line.len()).max().unwrap_or(0) as u16 + 4;
    let (width, height) = (width.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    screen.render_widget(Clear, place);
    let block = Block::bordered().title(" sinew top ").border_style(theme.head());
    let lines: Vec<_> = HELP.iter().map(|line| Line::from(format!(" {line}"))).collect();
    screen.render_widget(Paragraph::new(lines).block(block), place);
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyCode;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::super::fixtures;
    use super::*;

    const COLOR: Theme = Theme { color: true };

    fn buffer(model: &mut Model, theme: Theme, (width, height): (u16, u16)) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("has no errors");
        terminal.draw(|frame| draw(frame, model, theme)).expect("has no errors");
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &Buffer) -> String {
        let rows = buffer.content().chunks(usize::from(buffer.area.width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
    }

    fn model(keys: &str) -> Model {
        let mut model = Model::new("127.0.0.1:4600");
        model.take(fixtures::frame());
        keys.chars().for_each(|key| _ = model.key(KeyCode::Char(key).into()));
        model
    }

    fn screen(keys: &str) -> String {
        text(&buffer(&mut model(keys), COLOR, (80, 24)))
    }

    #[test]
    fn the_overview_fits_80_by_24() {
        let shown = screen("");
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "sinew top  live  127.0.0.1:4600  realm default  node node-one");
        assert_eq!(lines[1], "1Overview 2Nodes 3Topics 4Procedures 5Clients 6Queues 7Events");
        assert_eq!(lines[2], "2/3 up  15 clients  568 msg/s  123 ev/s  ok 99.75 %  p50/95/99 90us/1.20ms/3.00m");
        let warned = ["node lost: e-three!", "not ready: node-two (overlay)", "2 events are missing in these figures"];
        assert_eq!(lines[3..6], warned);
        assert_eq!(lines[6], "Messages per second, at most 567");
        assert_eq!(lines[11], "Nodes");
        assert_eq!(lines[12], "NODE      REGION  STATE    CLIENTS  PUB/s  DELIV/s  CALLS/s  DROP/s   P50    P99");
        assert!(lines[13].starts_with("node-one  eu      up            12    100      300"), "{}", lines[13]);
        assert!(lines[15].starts_with("e-three!  eu      lost           -      -        -        -"), "{}", lines[15]);
        assert!(lines[23].starts_with("q quit  p pause"), "{shown}");
    }

    #[test]
    fn every_view_shows_what_it_is_for() {
        for (keys, parts) in [
            ("2", &["Nodes", "unready", "67.7 MiB", "Links", "quic", "120us"][..]),
            ("3", &["TOPIC", "sensors.kitchen.temp", "(other)", "nobody.listens"]),
            ("4", &["PROCEDURE", "math.square", "Providers", "provider"]),
            ("5", &["Slow subscribers", "a \u{fffd}[31mpump", "sensors.>", "92", "77", "Clients"]),
            ("6", &["memory_bytes", "95", "Drops since", "queue_full", "120"]),
            ("7", &["18:05:45.001", "publish", "name-2", "timed-out", "123us"]),
        ] {
            let shown = screen(keys);
            for part in parts {
                assert!(shown.contains(part), "{keys}: {part} is missing:\n{shown}");
            }
        }
    }

    #[test]
    fn states_are_seen() {
        let mut lost = model("");
        lost.link = Link::Lost("127.0.0.1:4600: connection refused".to_owned());
        assert!(text(&buffer(&mut lost, COLOR, (80, 24))).contains("  RECONNECTING  connection refused  127"));
        assert!(screen("p").contains("live  PAUSED, 0 behind  127"));
        assert!(screen("/kitch").contains("/kitch_   enter: keep"));
        assert!(screen("3/zzz").contains("nothing has the text of the filter"));
        assert!(screen("w").contains("w 60 s"));
        let help = screen("?");
        assert!(help.contains("s         sort by the next column") && help.contains(" sinew top "), "{help}");
        let nothing = text(&buffer(&mut Model::new("x"), COLOR, (80, 24)));
        assert!(nothing.contains("no node has told how it is yet"), "{nothing}");
    }

    #[test]
    fn rows_that_do_not_fit_are_scrolled_to() {
        let mut model = model("2");
        let mut frame = fixtures::frame();
        let one = frame.nodes[0].clone();
        frame.nodes =
            (0..100).map(|n| sinew_live::frame::Node { node: format!("node-{n:04}"), ..one.clone() }).collect();
        model.take(frame);
        assert!(text(&buffer(&mut model, COLOR, (80, 24))).contains("of 100)"));
        (0..50).for_each(|_| _ = model.key(KeyCode::PageDown.into()));
        let end = text(&buffer(&mut model, COLOR, (80, 24)));
        assert!(end.contains("de-0099") && model.scroll < 100, "{end}");
        model.key(KeyCode::Up.into());
        assert!(!text(&buffer(&mut model, COLOR, (80, 24))).contains("de-0099\n"), "it answers at once");
    }

    #[test]
    fn no_colours_where_none_are_wanted() {
        for keys in ["", "2", "3", "4", "5", "6", "7", "?", "/x", "p"] {
            let plain = buffer(&mut model(keys), Theme { color: false }, (80, 24));
            assert!(plain.content().iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)), "{keys}");
        }
        let lost = |theme| {
            let buffer = buffer(&mut model(""), theme, (80, 24));
            let at = text(&buffer).lines().position(|line| line.starts_with("e-three!")).expect("it is shown");
            buffer.content()[at * 80 + 18].style()
        };
        assert_eq!(lost(COLOR).fg, Some(Color::Red));
        assert!(lost(Theme { color: false }).add_modifier.contains(Modifier::REVERSED));
    }

    #[test]
    fn any_size_can_be_drawn_on() {
        for size in [(1, 1), (2, 3), (10, 2), (20, 5), (40, 12), (80, 24), (300, 100)] {
            for keys in ["", "2", "3", "4", "5", "6", "7", "?"] {
                buffer(&mut model(keys), COLOR, size);
            }
        }
    }

    #[test]
    fn room_is_shared() {
        assert_eq!(share(&[3, 4], 20), [3, 17]);
        assert_eq!(share(&[100, 4], 20), [16, 4]);
        assert_eq!(share(&[100, 100], 21), [10, 11]);
        assert_eq!(share(&[], 5), [0; 0]);
        assert_eq!(share(&[9], 0), [0]);
    }
}
