//! A Sinew node inside your program: configuration, composition, ordered shutdown.
//!
//! ```no_run
//! use sinew_node::{Config, Node};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::start(Config::default()).await?;
//! println!("clients connect to {}", node.client_addresses()[0]);
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! The node runs in the caller's tokio runtime, which has to have its time and I/O drivers on. It keeps no globals:
//! any number of nodes may live in one process.

#![warn(missing_docs)]

mod advertise;
mod compose;
mod config;
mod health;
mod live;
mod node;
#[cfg(feature = "otlp")]
mod otlp;
mod realm;
mod storage;
mod views;

pub use config::{
    ADMIN_PORT, ADMIN_TOKEN_NAME, Config, ConfigError, IDENTITY_NAME, Invalid, KEYS, Key, Limits, Link, Loaded, Loader,
    Log, LogFormat, MESH_PORT, Mesh, Origin, SOCKET_NAME, Secret, UseRelays, format_duration, format_size,
    parse_duration, parse_size,
};
#[doc(hidden)]
pub use live::LiveProbe;
pub use node::{Drained, Node, StartError};
pub use sinew_link::{Address, DEFAULT_PORT};
pub use sinew_wire::{PROTOCOL_VERSION, PeerId};
pub use storage::StorageError;
