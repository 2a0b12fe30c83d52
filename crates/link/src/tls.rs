use std::io;
use std::sync::Arc;

use libp2p_tls::certificate;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig, SupportedCipherSuite, client, server};
use sinew_wire::PeerId;

use crate::verifier::{PeerVerifier, Unacceptable, peer_of};
use crate::{Identity, LinkError};

/// What is spoken inside of TLS and QUIC.
pub(crate) const ALPN: &[u8] = b"sinew/1";

/// The name that a client says in the handshake. Nobody looks at it: peers are known by their keys.
pub(crate) const SERVER_NAME: &str = "sinew";

/// Our half of a TLS handshake: a certificate of libp2p's kind, made once, and its key.
///
/// The scheme is libp2p's (libp2p-tls makes and checks the certificates), the configuration our own: libp2p-tls's asks for
/// ChaCha20 first, which costs half of the speed where AES is in hardware, and lets `SSLKEYLOGFILE` write out the keys.
#[derive(Debug)]
pub(crate) struct Credentials {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    identity: Identity,
}

impl Credentials {
    pub(crate) fn new(identity: &Identity) -> Result<Self, String> {
        let (certificate, key) = certificate::generate(identity.keypair()).map_err(|error| error.to_string())?;
        let key = ring::sign::any_ecdsa_type(&key).map_err(|error| error.to_string())?;
        let provider = CryptoProvider { cipher_suites: cipher_suites(), ..ring::default_provider() };
        Ok(Self {
            key: Arc::new(CertifiedKey::new(vec![certificate], key)),
            provider: Arc::new(provider),
            identity: identity.clone(),
        })
    }

    /// A secret that is the same whenever this identity asks for it, and tells nothing of its key.
    pub(crate) fn secret_for(&self, purpose: &[u8]) -> [u8; 32] {
        self.identity.keypair().derive_secret(purpose).expect("an Ed25519 key has a secret to derive from")
    }

    /// Sessions are not resumed: links are long, and every one proves both peers anew.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::<PeerVerifier>::default())
            .with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For one dial.
    pub(crate) fn client_config(self: &Arc<Self>, verifier: Arc<PeerVerifier>) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = client::Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }
}

impl client::ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl server::ResolvesServerCert for Credentials {
    fn resolve(&self, _: server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key))
    }
}

/// AES first where the processor has it, ChaCha20 first elsewhere. A server follows the order of its client.
fn cipher_suites() -> Vec<SupportedCipherSuite> {
    use ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    #[cfg(target_arch = "x86_64")]
    let aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let aes = false;
    if aes {
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
    } else {
        vec![TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384]
    }
}

/// The peer behind the certificates of a finished handshake.
pub(crate) fn peer_of_chain(chain: Option<&[CertificateDer<'_>]>) -> Result<PeerId, LinkError> {
    let [certificate] = chain.unwrap_or_default() else {
        return Err(LinkError::Certificate("exactly one certificate is needed".to_owned()));
    };
    peer_of(certificate).map_err(|why| LinkError::Certificate(why.to_string()))
}

impl From<&Unacceptable> for LinkError {
    fn from(why: &Unacceptable) -> Self {
        match why {
            Unacceptable::WrongPeer(actual) => Self::WrongPeer(*actual),
            why => Self::Certificate(why.to_string()),
        }
    }
}

/// What a failed handshake or a broken TLS stream was about.
pub(crate) fn error_of(error: &Error) -> LinkError {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => match other.0.downcast_ref::<Unacceptable>() {
            Some(why) => why.into(),
            None => LinkError::Certificate(error.to_string()),
        },
        Error::InvalidCertificate(why) => LinkError::Certificate(format!("{why:?}")),
        Error::NoCertificatesPresented => LinkError::Certificate("none was sent".to_owned()),
        Error::AlertReceived(alert) => LinkError::Rejected(format!("{alert:?}")),
        Error::NoApplicationProtocol => LinkError::Handshake("the peer does not speak sinew/1".to_owned()),
        Error::InvalidMessage(_) => LinkError::Handshake(format!("the peer does not speak TLS: {error}")),
        other => LinkError::Handshake(other.to_string()),
    }
}

/// The same for what tokio-rustls hands out.
pub(crate) fn error_of_io(error: io::Error) -> LinkError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) => error_of(inner),
        // The end of TCP without TLS's own: the peer was cut off, or cut itself off.
        None if error.kind() == io::ErrorKind::UnexpectedEof => LinkError::Reset,
        None => error.into(),
    }
}
