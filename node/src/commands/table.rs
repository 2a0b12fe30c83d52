//! Rows: JSON lines for programs, and for people columns as wide as their widest cell.

use std::fmt::Write;
use std::io;

use serde::Serialize;
use serde_json::Value;

use crate::output::Output;

/// How a list is shown.
pub(crate) struct Listing<'a, const N: usize> {
    pub(crate) head: [&'a str; N],
    /// What is said instead of an empty table.
    pub(crate) nothing: &'a str,
}

impl<const N: usize> Listing<'_, N> {
    /// Prints the rows: `json` of each with `--json`, without a table of their `cells`.
    pub(crate) fn print<R, J: Serialize>(
        &self,
        output: Output,
        rows: impl IntoIterator<Item = R>,
        json: impl Fn(&R) -> J,
        cells: impl Fn(&R) -> [String; N],
    ) -> io::Result<()> {
        let mut rows = rows.into_iter().peekable();
        if output.is_json() {
            return rows.try_for_each(|row| output.result(&json(&row), ""));
        }
        if rows.peek().is_none() {
            output.say(self.nothing);
            return Ok(());
        }
        let lines: Vec<_> = rows.map(|row| cells(&row)).collect();
        output.result(&Value::Null, table(self.head, &lines))
    }
}

/// Lines of a table with a head. The last column is not padded.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    line(&mut out, &head.map(str::to_owned), &widths);
    for row in rows {
        line(&mut out, row, &widths);
    }
    out.truncate(out.trim_end().len());
    out
}

fn line(out: &mut String, cells: &[String], widths: &[usize]) {
    let start = out.len();
    for (cell, width) in cells.iter().zip(widths) {
        write!(out, "{cell:<width$}  ").expect("a String takes every write");
    }
    out.truncate(start + out[start..].trim_end().len());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME    N\na       1\nlonger");
    }
}
