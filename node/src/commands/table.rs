//! Rows for people: columns as wide as their widest cell.

use std::fmt::Write;

/// Lines of a table with a head. The last column is not padded.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
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
