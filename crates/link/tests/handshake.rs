//! Who is let in, and what the others are told.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TRANSPORTS, frame, listen, read_frame};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use sinew_link::{Address, BindError, DialError, Dialer, Identity, LinkConfig, LinkError, Listener};
use sinew_wire::FrameKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A peer that accepts anybody and shows a certificate that says nothing about who it is.
#[derive(Debug)]
struct Careless;

impl Careless {
    fn provider() -> Arc<rustls::crypto::CryptoProvider> {
        Arc::new(rustls::crypto::ring::default_provider())
    }

    fn certificate() -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["sinew".to_owned()]).unwrap().self_signed(&key).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn client(alpn: &[u8]) -> rustls::ClientConfig {
        let (chain, key) = Self::certificate();
        let mut config = rustls::ClientConfig::builder_with_provider(Self::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Self))
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    fn server(alpn: &[u8]) -> rustls::ServerConfig {
        let (chain, key) = Self::certificate();
        let mut config = rustls::ServerConfig::builder_with_provider(Self::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Self))
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }
}

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ClientCertVerifier for Careless {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn port(address: &Address) -> u16 {
    let (Address::Quic { port, .. } | Address::Tls { port, .. }) = address else { panic!("{address} has no port") };
    *port
}

async fn tls_listener() -> Listener {
    listen("tls", &LinkConfig::default(), &Identity::generate()).await.0
}

async fn quic_listener() -> Listener {
    listen("quic", &LinkConfig::default(), &Identity::generate()).await.0
}

async fn refused(listener: &mut Listener) -> LinkError {
    listener.accept().await.unwrap().establish().await.unwrap_err()
}

/// What our listener says of a client, and what the client hears.
async fn careless_tls_client(alpn: &[u8]) -> (LinkError, std::io::Error) {
    let mut listener = tls_listener().await;
    let port = port(&listener.address());
    let client = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(Careless::client(alpn)));
        let mut stream = connector.connect("sinew".try_into().unwrap(), stream).await?;
        // With TLS 1.3 the client is done before the listener has seen its certificate.
        stream.read_exact(&mut [0; 1]).await.map(|_| panic!("the listener has nothing to say"))
    };
    let (here, there): (_, std::io::Result<()>) = tokio::join!(refused(&mut listener), client);
    (here, there.unwrap_err())
}

async fn careless_quic_client(alpn: &[u8]) -> (LinkError, quinn::ConnectionError) {
    let mut listener = quic_listener().await;
    let at = ([127, 0, 0, 1], port(&listener.address())).into();
    let client = async {
        let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let crypto = QuicClientConfig::try_from(Careless::client(alpn)).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        match endpoint.connect_with(config, at, "sinew").unwrap().await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        }
    };
    tokio::join!(refused(&mut listener), client)
}

#[tokio::test]
async fn a_client_without_an_identity_is_refused() {
    let (here, there) = careless_tls_client(b"sinew/1").await;
    assert!(matches!(&here, LinkError::Certificate(why) if why.contains("libp2p")), "{here:?}");
    assert!(there.to_string().contains("CertificateUnknown"), "{there}");

    let (here, there) = careless_quic_client(b"sinew/1").await;
    assert!(matches!(&here, LinkError::Certificate(why) if why.starts_with("no certificate with")), "{here:?}");
    assert!(there.to_string().contains("libp2p"), "{there}");
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let (here, there) = careless_tls_client(b"http/1.1").await;
    assert!(matches!(&here, LinkError::Handshake(why) if why.contains("sinew/1")), "{here:?}");
    assert!(there.to_string().contains("NoApplicationProtocol"), "{there}");

    let (here, _) = careless_quic_client(b"h3").await;
    assert!(matches!(&here, LinkError::Handshake(_)), "{here:?}");
}

#[tokio::test]
async fn a_listener_without_an_identity_is_refused() {
    let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
    let is_certificate = |error: &DialError| matches!(error, DialError::Handshake { source: LinkError::Certificate(why), .. } if why.starts_with("no certificate with"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = format!("tls://{}", listener.local_addr().unwrap()).parse().unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(Careless::server(b"sinew/1")));
        acceptor.accept(stream).await.unwrap_err()
    };
    let (dialled, heard) = tokio::join!(dialer.dial(&address), server);
    let error = dialled.unwrap_err();
    assert!(is_certificate(&error), "{error:?}");
    assert!(heard.to_string().contains("CertificateUnknown"), "{heard}");

    let crypto = QuicServerConfig::try_from(Careless::server(b"sinew/1")).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
    let address: Address = format!("quic://{}", endpoint.local_addr().unwrap()).parse().unwrap();
    let server = async { endpoint.accept().await.unwrap().await.unwrap_err() };
    let (dialled, heard) = tokio::join!(dialer.dial(&address), server);
    let error = dialled.unwrap_err();
    assert!(is_certificate(&error), "{error:?}");
    assert!(heard.to_string().contains("libp2p"), "{heard}");
}

#[tokio::test]
async fn a_listener_of_another_protocol_is_refused() {
    let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = format!("tls://{}", listener.local_addr().unwrap()).parse().unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(Careless::server(b"http/1.1"))).accept(stream).await.unwrap_err()
    };
    let (dialled, _) = tokio::join!(dialer.dial(&address), server);
    let error = dialled.unwrap_err();
    assert!(matches!(&error, DialError::Handshake { source: LinkError::Rejected(_), .. }), "{error:?}");
}

#[tokio::test]
async fn garbage_on_the_tls_port_is_told_apart() {
    let mut listener = tls_listener().await;
    let port = port(&listener.address());
    let client = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: sinew\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _reset_or_alert = stream.read_to_end(&mut answer).await;
    };
    let (error, ()) = tokio::join!(refused(&mut listener), client);
    assert!(matches!(&error, LinkError::Handshake(why) if why.contains("does not speak TLS")), "{error:?}");
}

#[tokio::test]
async fn only_the_expected_peer_will_do() {
    for scheme in TRANSPORTS {
        let (server, client) = (Identity::generate(), Identity::generate());
        let (mut listener, _directory) = listen(scheme, &LinkConfig::default(), &server).await;
        let address = listener.address();
        let dialer = Dialer::new(client.clone(), LinkConfig::default());
        let wrong = Identity::generate().peer_id();

        let (dialled, here) = tokio::join!(dialer.dial_peer(&address, wrong), refused(&mut listener));
        match dialled.unwrap_err() {
            DialError::WrongPeer { expected, actual, .. } => assert_eq!((expected, actual), (wrong, server.peer_id())),
            other => panic!("{scheme}: {other:?}"),
        }
        assert!(matches!(here, LinkError::Rejected(_)), "{scheme}: {here:?}");

        let dialling = async {
            let link = dialer.dial_peer(&address, server.peer_id()).await.unwrap();
            let mut halves = link.split();
            halves.1.send(&mut vec![frame(FrameKind::Control, b"hello")]).await.unwrap();
            halves
        };
        let accepting = async { listener.accept().await.unwrap().establish().await.unwrap() };
        let (_halves, link) = tokio::join!(dialling, accepting);
        assert_eq!(link.peer(), client.peer_id());
    }
}

#[tokio::test]
async fn who_says_nothing_holds_nobody_up() {
    let config = LinkConfig { handshake_timeout: Duration::from_millis(300), ..LinkConfig::default() };
    for scheme in ["tls", "unix"] {
        let (mut listener, _directory) = listen(scheme, &config, &Identity::generate()).await;
        let address = listener.address();
        let _silent: Box<dyn std::any::Any> = match &address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
            address => Box::new(TcpStream::connect(("127.0.0.1", port(address))).await.unwrap()),
        };
        let begin = Instant::now();
        let silent = tokio::spawn(listener.accept().await.unwrap().establish());
        let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
        let (dialled, accepted) =
            tokio::join!(dialer.dial(&address), async { listener.accept().await.unwrap().establish().await });
        dialled.unwrap();
        accepted.unwrap();
        assert!(matches!(silent.await.unwrap(), Err(LinkError::HandshakeTimeout(_))), "{scheme}");
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_silent_quic_dialer_runs_out_of_time() {
    let config = LinkConfig { handshake_timeout: Duration::from_millis(300), ..LinkConfig::default() };
    let (mut listener, _directory) = listen("quic", &config, &Identity::generate()).await;
    let address = listener.address();
    let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
    let (link, error) = tokio::join!(dialer.dial(&address), refused(&mut listener));
    assert!(matches!(error, LinkError::HandshakeTimeout(_)), "{error:?}");
    let (mut reader, _writer) = link.unwrap().split();
    assert!(reader.fill().await.is_err());
}

#[tokio::test]
async fn beyond_the_pending_handshakes_attempts_are_refused() {
    for scheme in TRANSPORTS {
        let config = LinkConfig { max_pending_handshakes: 1, ..LinkConfig::default() };
        let (mut listener, _directory) = listen(scheme, &config, &Identity::generate()).await;
        let address = listener.address();
        let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
        let first = tokio::spawn({
            let (dialer, address) = (dialer.clone(), address.clone());
            async move { dialer.dial(&address).await }
        });
        let pending = listener.accept().await.unwrap();
        let error = tokio::select! {
            dialled = dialer.dial(&address) => dialled.unwrap_err(),
            accepted = listener.accept() => panic!("{scheme}: accepted {accepted:?}"),
        };
        assert!(matches!(error, DialError::Handshake { .. }), "{scheme}: {error:?}");
        pending.refuse();
        assert!(first.await.unwrap().is_err(), "{scheme}");
    }
}

#[tokio::test]
async fn nobody_there_is_known_at_once() {
    let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for address in [format!("tls://127.0.0.1:{free}"), format!("quic://127.0.0.1:{free}"), "unix:///nowhere/s".into()] {
        let begin = Instant::now();
        let error = dialer.dial(&address.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, DialError::Refused(_)), "{error:?}");
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
    let error = dialer.dial(&"tls://no.such.host.invalid:1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, DialError::Resolve { .. }), "{error:?}");
}

#[tokio::test]
async fn a_port_is_taken_once() {
    for scheme in TRANSPORTS {
        let (listener, _directory) = listen(scheme, &LinkConfig::default(), &Identity::generate()).await;
        let again = Listener::bind(&listener.address(), &Identity::generate(), &LinkConfig::default()).await;
        assert!(matches!(again, Err(BindError::InUse(_))), "{scheme}: {again:?}");
    }
}

#[tokio::test]
async fn a_link_outlives_its_listener_and_dialer() {
    for scheme in TRANSPORTS {
        let pair = common::pair(scheme).await;
        // Both were dropped when the pair was made.
        let (mut to_server, mut from_client) = (pair.client.1, pair.server.0);
        to_server.send(&mut vec![frame(FrameKind::Publish, b"still here")]).await.unwrap();
        assert_eq!(read_frame(&mut from_client).await.1, b"still here");
    }
}

#[tokio::test]
async fn of_several_addresses_the_first_that_works_wins() {
    let (server, client) = (Identity::generate(), Identity::generate());
    let config = LinkConfig::default();
    let (mut listener, _directory) = listen("quic", &config, &server).await;
    let (mut other, _directory) = listen("tls", &config, &Identity::generate()).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // A socket that never answers.
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = [
        format!("quic://{}", mute.local_addr().unwrap()).parse().unwrap(),
        format!("tls://{dead}").parse().unwrap(),
        other.address(),
        listener.address(),
    ];
    let dialer = Dialer::new(client.clone(), config);
    let accepting = async {
        tokio::join!(
            async { listener.accept().await.unwrap().establish().await.unwrap() },
            // Somebody else lives there: refused by the dialer.
            async { other.accept().await.unwrap().establish().await }
        )
    };
    let dialling = async {
        let started = Instant::now();
        let stagger = Duration::from_millis(20);
        let link = dialer.dial_first(&addresses, server.peer_id(), stagger).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2), "did not wait for the mute one");
        let (reader, mut writer) = link.split();
        writer.send(&mut vec![frame(FrameKind::Control, b"hello")]).await.unwrap();
        (reader, writer)
    };
    let ((accepted, refused), _link) = tokio::join!(accepting, dialling);
    assert_eq!(accepted.peer(), client.peer_id());
    assert!(refused.is_err());

    let gone = [format!("tls://{dead}").parse().unwrap()];
    let error = dialer.dial_first(&gone, server.peer_id(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Some(DialError::Refused(_))), "{error:?}");
    assert!(dialer.dial_first(&[], server.peer_id(), Duration::ZERO).await.unwrap_err().is_none());
}
