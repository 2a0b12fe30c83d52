//! Tables as data: what is in them, in which order, and which columns fit.

use std::cmp::Ordering;

/// How something looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    Dim,
}

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Its cells are numbers: to the right, and the largest first when they are sorted.
    pub(super) number: bool,
    /// Columns of a higher rank go first where not all fit; rank 0 stays.
    pub(super) rank: u8,
}

/// A column of text.
pub(super) const fn text(title: &'static str, rank: u8) -> Column {
    Column { title, number: false, rank }
}

/// A column of numbers.
pub(super) const fn number(title: &'static str, rank: u8) -> Column {
    Column { title, number: true, rank }
}

/// What stands in a row under a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What a number is sorted by.
    value: f64,
    pub(super) tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), value: 0.0, tone: Tone::Plain }
    }

    pub(super) fn number(value: f64, text: impl Into<String>) -> Self {
        Self { text: text.into(), value, tone: Tone::Plain }
    }

    pub(super) const fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// A row: a cell for each column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    /// What a filter finds beside the text of the cells: ids that are shown in short.
    pub(super) more: String,
}

impl Row {
    fn has(&self, lower: &str) -> bool {
        let texts = self.cells.iter().map(|cell| &cell.text).chain([&self.more]);
        texts.into_iter().any(|text| text.to_lowercase().contains(lower))
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Row>,
    /// What is said instead of no rows.
    pub(super) nothing: &'static str,
}

/// Blanks between two columns.
pub(super) const GAP: usize = 2;

impl Table {
    /// Only the rows that have this text somewhere, in capitals or not.
    pub(super) fn keep(&mut self, filter: &str) {
        let lower = filter.to_lowercase();
        self.rows.retain(|row| row.has(&lower));
    }

    /// By the column of this title, if the table has it: numbers from the largest, text from A. Rows that are equal stay in
    /// their order.
    pub(super) fn sort(&mut self, title: Option<&str>, reverse: bool) {
        if let Some(at) = self.columns.iter().position(|column| Some(column.title) == title) {
            let number = self.columns[at].number;
            self.rows.sort_by(|a, b| compare(a.cells.get(at), b.cells.get(at), number));
        }
        if reverse {
            self.rows.reverse();
        }
    }

    /// How wide each column would like to be.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<_> = self.columns.iter().map(|column| column.title.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        widths
    }

    /// The columns that fit into so many characters, with their widths. The last one gives way before others go.
    pub(super) fn fit(&self, available: usize) -> Vec<(usize, usize)> {
        let widths = self.widths();
        let mut shown: Vec<(usize, usize)> = widths.into_iter().enumerate().collect();
        let total = |shown: &[(usize, usize)]| shown.iter().map(|(_, width)| width + GAP).sum::<usize>();
        while total(&shown) > available + GAP {
            let rank = |at: usize| self.columns.get(at).map_or(0, |column| column.rank);
            let Some((place, _)) = shown
                .iter()
                .enumerate()
                .rev()
                .max_by_key(|(_, (at, _))| rank(*at))
                .filter(|(_, (at, _))| rank(*at) > 0)
            else {
                break;
            };
            shown.remove(place);
        }
        // What is left is worth being cut: the widest column of text gives way.
        let over = total(&shown).saturating_sub(available + GAP);
        if let Some((_, width)) = shown.iter_mut().max_by_key(|(_, width)| *width) {
            *width = width.saturating_sub(over).max(1);
        }
        shown
    }

    /// The table as lines, all columns, for a terminal or a file.
    pub(super) fn lines(&self) -> Vec<String> {
        let shown = self.fit(usize::MAX / 2);
        let head = self.columns.iter().map(|column| column.title).collect::<Vec<_>>();
        let cells = self.rows.iter().map(|row| row.cells.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>());
        let line = |cells: Vec<&str>| {
            let cells = shown.iter().map(|&(at, width)| self.padded(at, cells.get(at).copied().unwrap_or(""), width));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        std::iter::once(head).chain(cells).map(line).collect()
    }

    /// A text at its side of the column, cut where it is too long.
    pub(super) fn padded(&self, column: usize, text: &str, width: usize) -> String {
        let length = text.chars().count();
        if length > width {
            let kept: String = text.chars().take(width.saturating_sub(1)).collect();
            return format!("{kept}…");
        }
        match self.columns.get(column).is_some_and(|column| column.number) {
            true => format!("{text:>width$}"),
            false => format!("{text:<width$}"),
        }
    }
}

fn compare(a: Option<&Cell>, b: Option<&Cell>, number: bool) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return Ordering::Equal };
    if number { b.value.total_cmp(&a.value) } else { a.text.to_lowercase().cmp(&b.text.to_lowercase()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [text("NAME", 0), number("N", 0), number("RATE", 1), text("WHERE", 2)];

    fn table(rows: &[(&str, f64, &str)]) -> Table {
        let row = |&(name, n, place): &(&str, f64, &str)| Row {
            cells: vec![
                Cell::new(name),
                Cell::number(n, n.to_string()),
                Cell::number(-n, format!("{}/s", -n)),
                Cell::new(place),
            ],
            more: format!("id-of-{name}"),
        };
        Table { title: "t".to_owned(), columns: &COLUMNS, rows: rows.iter().map(row).collect(), nothing: "none" }
    }

    fn names(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|row| row.cells[0].text.as_str()).collect()
    }

    #[test]
    fn rows_are_sorted_by_what_a_cell_means() {
        let mut one = table(&[("b", 9.0, "eu"), ("A", 10.0, "us"), ("c", 9.0, "as")]);
        one.sort(Some("N"), false);
        assert_eq!(names(&one), ["A", "b", "c"], "10 is more than 9, and equals keep their order");
        one.sort(Some("NAME"), true);
        assert_eq!(names(&one), ["c", "b", "A"]);
        one.sort(Some("of another table"), false);
        assert_eq!(names(&one), ["c", "b", "A"]);
        one.sort(None, true);
        assert_eq!(names(&one), ["A", "b", "c"]);
    }

    #[test]
    fn a_filter_finds_text_and_ids() {
        let all = table(&[("Kitchen", 1.0, "eu"), ("hall", 2.0, "us")]);
        for (filter, left) in [("", 2), ("kit", 1), ("US", 1), ("ID-OF-HALL", 1), ("nothing", 0)] {
            let mut one = all.clone();
            one.keep(filter);
            assert_eq!(one.rows.len(), left, "{filter}");
        }
    }

    #[test]
    fn columns_go_by_rank_and_then_text_is_cut() {
        let one = table(&[("a-long-name", 1.0, "europe")]);
        let shown = |width| one.fit(width).iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(shown(80), [0, 1, 2, 3]);
        assert_eq!(shown(28), [0, 1, 2, 3], "11 + 1 + 4 + 6 and three gaps");
        assert_eq!(shown(27), [0, 1, 2]);
        assert_eq!(shown(20), [0, 1, 2]);
        assert_eq!(one.fit(10), [(0, 7), (1, 1)]);
        assert_eq!(one.fit(0)[0].1, 1);
        assert_eq!(one.padded(0, "a-long-name", 7), "a-long…");
    }

    #[test]
    fn lines_line_up() {
        let one = table(&[("a", 1.0, "eu"), ("bb", 12.0, "")]);
        assert_eq!(one.lines(), ["NAME   N   RATE  WHERE", "a      1   -1/s  eu", "bb    12  -12/s"]);
    }
}
