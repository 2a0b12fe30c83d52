use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use crate::Result;

/// The words of the command line: `--key value`, or `--key` alone.
pub(crate) struct Words(HashMap<String, String>);

impl Words {
    pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Self> {
        let (mut read, mut words) = (HashMap::new(), words.peekable());
        while let Some(word) = words.next() {
            let key = word.strip_prefix("--").ok_or_else(|| format!("{word} is no option"))?;
            let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
            read.insert(key.to_owned(), value);
        }
        Ok(Self(read))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str> {
        Ok(self.0.get(key).ok_or_else(|| format!("--{key} is missing"))?)
    }

    pub(crate) fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let parse = |text: &String| text.parse().map_err(|_| format!("--{key} {text} is no number"));
        Ok(self.0.get(key).map(parse).transpose()?)
    }

    /// A time in milliseconds.
    pub(crate) fn millis(&self, key: &str) -> Result<Option<Duration>> {
        Ok(self.number(key)?.map(Duration::from_millis))
    }
}
