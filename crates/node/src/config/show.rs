use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{KEYS, Loaded};

impl Loaded {
    /// The effective values as a TOML file that would bring them back, each with its origin in a comment;
    /// but for secrets, which are not shown.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in KEYS {
            let (within, name) = key.name.split_once('.').map_or(("", key.name), |(within, name)| (within, name));
            if within != section {
                section = within;
                out.push_str(&format!("\n[{section}]\n"));
            }
            let line = match key.value(&self.config) {
                Value::Null => format!("# {name} is not set"),
                Value::String(mask) if mask == super::Secret::MASK => format!("# {name} = \"{mask}\""),
                value => format!("{name} = {}", toml_text(&value)),
            };
            writeln!(out, "{line:<44} # {}", self.origin(key)).expect("a String takes every write");
        }
        out
    }

    /// The effective values with their origins: `{"realm":{"value":"default","origin":"default"},...}`, by dotted name.
    pub fn to_json(&self) -> Value {
        let row =
            |key| json!({ "value": super::Key::value(key, &self.config), "origin": self.origin(key).to_string() });
        Value::Object(KEYS.iter().map(|key| (key.name.to_owned(), row(key))).collect::<Map<_, _>>())
    }
}

/// JSON texts, numbers, booleans and arrays of texts are TOML too, once the escapes are those of TOML.
fn toml_text(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
