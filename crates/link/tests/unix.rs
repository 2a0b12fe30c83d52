//! What is special about Unix sockets: their file, and the challenge that stands for certificates.

#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sinew_link::{Address, BindError, DialError, Dialer, Identity, LinkConfig, LinkError, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

async fn bind(path: &std::path::Path) -> Result<Listener, BindError> {
    Listener::bind(&Address::Unix(path.to_owned()), &Identity::generate(), &LinkConfig::default()).await
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/sinew.sock");
    let listener = bind(&path).await.unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sinew.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind(&path).await.unwrap();
    assert!(matches!(bind(&path).await, Err(BindError::InUse(_))));
    assert!(path.exists());
    drop(listener);

    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path).await, Err(BindError::NotASocket(_))));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

/// A hello with some key, as the dialer and the listener send it.
fn hello() -> Vec<u8> {
    let mut hello = b"sinew/1\n".to_vec();
    hello.extend_from_slice(&[1; 32]);
    hello.extend_from_slice(Identity::generate().peer_id().public_key());
    hello
}

#[tokio::test]
async fn a_dialer_that_cannot_sign_for_its_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut listener = bind(&path).await.unwrap();
    let dialer = async {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(&hello()).await.unwrap();
        stream.read_exact(&mut [0; 72 + 64]).await.unwrap();
        stream.write_all(&[9; 64]).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    };
    let (error, ()) = tokio::join!(async { listener.accept().await.unwrap().establish().await.unwrap_err() }, dialer);
    assert!(matches!(&error, LinkError::Certificate(why) if why.contains("signature")), "{error:?}");
}

#[tokio::test]
async fn a_listener_that_cannot_sign_for_its_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let socket = UnixListener::bind(&path).unwrap();
    let listener = async {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut theirs = [0; 72];
        stream.read_exact(&mut theirs).await.unwrap();
        stream.write_all(&hello()).await.unwrap();
        stream.write_all(&[9; 64]).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the dialer must not sign for such a listener");
    };
    let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
    let address = Address::Unix(path.clone());
    let (dialled, ()) = tokio::join!(dialer.dial(&address), listener);
    let error = dialled.unwrap_err();
    assert!(matches!(&error, DialError::Handshake { source: LinkError::Certificate(_), .. }), "{error:?}");
}

/// The listener's own proof, sent back to it, proves nothing about the dialer.
#[tokio::test]
async fn a_proof_cannot_be_reflected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut listener = bind(&path).await.unwrap();
    let dialer = async {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // The listener's own key is claimed: it is read from a first connection.
        stream.write_all(&hello()).await.unwrap();
        let mut first = [0; 72 + 64];
        stream.read_exact(&mut first).await.unwrap();
        drop(stream);
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(&first[..72]).await.unwrap();
        let mut second = [0; 72 + 64];
        stream.read_exact(&mut second).await.unwrap();
        stream.write_all(&second[72..]).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    };
    let accepting = async {
        listener.accept().await.unwrap().establish().await.unwrap_err();
        listener.accept().await.unwrap().establish().await.unwrap_err()
    };
    let (error, ()) = tokio::join!(accepting, dialer);
    assert!(matches!(error, LinkError::Certificate(_)), "{error:?}");
}

#[tokio::test]
async fn another_protocol_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut listener = bind(&path).await.unwrap();
    let dialer = async {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        stream
    };
    let (error, _stream) =
        tokio::join!(async { listener.accept().await.unwrap().establish().await.unwrap_err() }, dialer);
    assert!(matches!(error, LinkError::Handshake(_)), "{error:?}");
}
