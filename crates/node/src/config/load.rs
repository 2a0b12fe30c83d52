use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, Invalid, Key};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file, with the line.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the first thing that is wrong, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// There is no such key.
    #[error("{origin}: unknown key {key:?}{}", did_you_mean(*.similar))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// A known key that looks like it.
        similar: Option<&'static str>,
    },
    /// A value that is not of the key's kind.
    #[error("{origin}: {key}: {problem}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A value that can't work, alone or together with others.
    #[error("{origin}: {invalid}")]
    Invalid {
        /// Where the value came from.
        origin: Origin,
        /// What is wrong.
        invalid: Invalid,
    },
}

fn did_you_mean(similar: Option<&'static str>) -> String {
    similar.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// A valid configuration, with the origin of every value.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The effective values.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Where the value of a key came from.
    pub fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(key.name).unwrap_or(&Origin::Default)
    }
}

/// Lays the layers of a configuration over each other. Call file, environment and flags in this order: the later one
/// wins.
///
/// ```
/// use sinew_node::{Config, Loader};
///
/// let variables = [("SINEW_REALM".to_owned(), "plant-7".to_owned())];
/// let loaded = Loader::new(Config::default())
///     .environment(variables)?
///     .flag("admin", "--admin", &["off".to_owned()])?
///     .finish()?;
/// assert_eq!(loaded.config.realm, "plant-7");
/// assert_eq!(loaded.config.admin, None);
/// # Ok::<(), sinew_node::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Loader {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Loader {
    /// Starts with the defaults.
    pub fn new(defaults: Config) -> Self {
        Self { config: defaults, origins: BTreeMap::new() }
    }

    /// Reads a TOML file. Every key in it has to be known.
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        self.toml(path, &text)
    }

    /// Reads TOML from memory; `path` is for messages.
    pub fn toml(mut self, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let line = |offset: usize| 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count();
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut found = BTreeMap::new();
        for (name, value) in flatten(document.get_ref()) {
            let origin = Origin::File(path.to_owned(), line(name.offset));
            let key = known(&name.path, &origin)?;
            if let Some(first) = found.insert(key.name, origin.clone()) {
                return Err(ConfigError::Value {
                    origin,
                    key: key.name,
                    problem: format!("was given before, at {first}"),
                });
            }
            let values = texts(value).map_err(|problem| ConfigError::Value {
                origin: origin.clone(),
                key: key.name,
                problem,
            })?;
            self.set(key, &values, origin)?;
        }
        Ok(self)
    }

    /// Reads the variables of known keys; empty ones count as not set. Those of the sections (`SINEW_LIMITS_`,
    /// `SINEW_LOG_`, `SINEW_TRACE_`, `SINEW_MESH_`, `SINEW_LINK_`) have to be known; others may belong to somebody else (`SINEW_SERVER` to a client, `SINEW_PORT` to a container
    /// host).
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("SINEW_") else { continue };
            let origin = Origin::Environment(name.clone());
            let Some(key) = super::KEYS.iter().find(|key| key.variable() == name) else {
                if ["LIMITS_", "LOG_", "TRACE_", "MESH_", "LINK_"].iter().any(|section| rest.starts_with(section)) {
                    let guess = rest.to_lowercase().replacen('_', ".", 1);
                    return Err(ConfigError::UnknownKey { origin, similar: Key::similar_to(&guess), key: guess });
                }
                continue;
            };
            if !value.is_empty() {
                self.set(key, &[value], origin)?;
            }
        }
        Ok(self)
    }

    /// Takes the value of a flag; `flag` is what the user typed, for messages and `config show`.
    pub fn flag(mut self, key: &str, flag: &str, values: &[String]) -> Result<Self, ConfigError> {
        let origin = Origin::Flag(flag.to_owned());
        let key = known(key, &origin)?;
        self.set(key, values, origin)?;
        Ok(self)
    }

    /// Validates the whole.
    pub fn finish(self) -> Result<Loaded, ConfigError> {
        let Self { config, origins } = self;
        match config.validate() {
            Ok(()) => Ok(Loaded { config, origins }),
            Err(invalid) => {
                let origin = origins.get(invalid.key).cloned().unwrap_or(Origin::Default);
                Err(ConfigError::Invalid { origin, invalid })
            }
        }
    }

    fn set(&mut self, key: &'static Key, values: &[String], origin: Origin) -> Result<(), ConfigError> {
        match key.set(&mut self.config, values) {
            Ok(()) => {
                self.origins.insert(key.name, origin);
                Ok(())
            }
            Err(problem) => Err(ConfigError::Value { origin, key: key.name, problem }),
        }
    }
}

fn known(name: &str, origin: &Origin) -> Result<&'static Key, ConfigError> {
    Key::find(name).ok_or_else(|| ConfigError::UnknownKey {
        origin: origin.clone(),
        similar: Key::similar_to(name),
        key: name.to_owned(),
    })
}

/// A dotted name in a document, and where it stands.
struct Name {
    path: String,
    offset: usize,
}

/// Every value of the document with its dotted name, in the order of the names; a section that no key is in counts as
/// a value, so that it is refused as unknown.
fn flatten<'a>(document: &'a DeTable<'a>) -> Vec<(Name, &'a DeValue<'a>)> {
    let mut values = Vec::new();
    let mut open = vec![(String::new(), document)];
    while let Some((prefix, table)) = open.pop() {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            let section = format!("{}.", path.replace('-', "_"));
            match value.get_ref() {
                DeValue::Table(inner) if super::KEYS.iter().any(|key| key.name.starts_with(&section)) => {
                    open.push((section, inner));
                }
                other => values.push((Name { path, offset: key.span().start }, other)),
            }
        }
    }
    values.sort_by_key(|(name, _)| name.offset);
    values
}

/// The text form of a value: one text, or several for an array.
fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| scalar(item.get_ref())).collect(),
        scalar_value => scalar(scalar_value).map(|text| vec![text]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| format!("{:?} is out of range", number.as_str())),
        other => Err(format!("expects a text, a number or a list, not a {}", other.type_str())),
    }
}
