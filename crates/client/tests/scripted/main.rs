//! The SDK against a node that follows a script, over real links.

mod calls;
mod connect;
mod frames;
mod hostile;
mod peer;
mod publish;
mod reconnect;
mod serve;
mod services;
mod subscribe;
