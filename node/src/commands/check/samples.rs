//! The page `/metrics`, as far as a check reads it.

/// A page read once.
#[derive(Debug, Default)]
pub(super) struct Samples<'a>(Vec<Sample<'a>>);

#[derive(Debug)]
struct Sample<'a> {
    name: &'a str,
    /// What stands between the braces.
    labels: &'a str,
    value: f64,
}

impl<'a> Samples<'a> {
    /// The samples of a page; lines that are none are left out.
    pub(super) fn parse(page: &'a str) -> Self {
        Self(page.lines().filter_map(sample).collect())
    }

    /// The only sample of this name.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|sample| sample.name == name).map(|sample| sample.value)
    }

    /// The samples of this name, each with the value of this label.
    pub(super) fn rows(&self, name: &str, label: &str) -> impl Iterator<Item = (&'a str, f64)> {
        let of = move |sample: &Sample<'a>| Some((value_of(sample.labels, label)?, sample.value));
        self.0.iter().filter(move |sample| sample.name == name).filter_map(of)
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    if line.starts_with('#') {
        return None;
    }
    // Values of labels may have blanks.
    let (name, labels, value) = match line.split_once('{') {
        Some((name, rest)) => rest.rsplit_once('}').map(|(labels, value)| (name, labels, value))?,
        None => line.split_once(' ').map(|(name, value)| (name, "", value))?,
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

fn value_of<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    let pair = |pair: &'a str| pair.strip_prefix(label)?.strip_prefix("=\"")?.strip_suffix('"');
    labels.split(',').find_map(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page =
            "# HELP a b\na 1\nb{} 2\nc_total{reason=\"x\",more=\"y\"} 3.5 17\nc_total{reason=\"a b\"} 4\nbroken\n";
        let samples = Samples::parse(page);
        assert_eq!((samples.value("a"), samples.value("b"), samples.value("d")), (Some(1.0), Some(2.0), None));
        let rows: Vec<_> = samples.rows("c_total", "reason").collect();
        assert_eq!(rows, [("x", 3.5), ("a b", 4.0)]);
        assert_eq!(samples.rows("c_total", "more").collect::<Vec<_>>(), [("y", 3.5)]);
    }
}
