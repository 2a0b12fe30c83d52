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
//! The node runs in the caller's tokio runtime, which has to have its time and I/O drivers on. Any number of nodes may live in
//! one process.
//!
//! The program itself is a client like any other. With a listener such as `memory://my-app` it connects without a socket, a file
//! or a port: `sinew_client::connect("memory://my-app")`. The name is the process's own, so that nodes beside each other need
//! different ones; a key of the configuration, `listen`, has it beside the listeners for others, or alone:
//!
//! ```no_run
//! # use sinew_node::{Config, Node};
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { listen: Some(vec!["memory://my-app".parse()?]), admin: None, ..Config::default() };
//! let node = Node::start(config).await?;
//! # Ok(())
//! # }
//! ```

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
