//! Leases of services: expiry, quotas, without I/O.

#![warn(missing_docs)]
