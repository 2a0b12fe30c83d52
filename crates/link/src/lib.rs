//! Authenticated, framed links over QUIC, TLS and Unix sockets
