//! The Sinew client SDK: publish, subscribe, reconnect
