//! Metrics, health and the admin HTTP server
