//! The SDK against a node that follows a script, over real links.

mod connect;
mod hostile;
mod peer;
mod publish;
mod reconnect;
mod services;
mod subscribe;
