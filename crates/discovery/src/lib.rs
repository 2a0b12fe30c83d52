//! Finding services: local leases, the directory of the realm, the DHT.

#![warn(missing_docs)]
