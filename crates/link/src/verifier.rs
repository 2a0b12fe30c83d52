use std::fmt;
use std::sync::{Arc, OnceLock};

use libp2p_tls::certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use sinew_wire::PeerId;

/// What libp2p-tls verifies with ring.
const SCHEMES: [SignatureScheme; 9] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// Accepts a certificate if, by the rules of libp2p, it proves a peer id, and if that is the expected one.
///
/// All cryptography is libp2p-tls's; its own verifier is private, and bound to another crypto provider.
#[derive(Debug, Default)]
pub(crate) struct PeerVerifier {
    expected: Option<PeerId>,
    /// Of a verifier for one dial: why it failed. quinn passes on no more than a text.
    why: OnceLock<Unacceptable>,
}

/// Why a certificate was not accepted.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unacceptable {
    #[error("exactly one certificate is allowed, {0} were sent")]
    Chain(usize),
    #[error("no certificate with the libp2p extension: {0}")]
    Libp2p(String),
    #[error("the peer's key is not an Ed25519 key")]
    KeyType,
    #[error("another peer than expected: {0}")]
    WrongPeer(PeerId),
}

/// The text: rustls shows this error by `Debug` only.
impl fmt::Debug for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Unacceptable> for Error {
    fn from(why: Unacceptable) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
    }
}

/// The peer that a certificate proves. Expensive: three signatures are checked.
pub(crate) fn peer_of(certificate: &CertificateDer<'_>) -> Result<PeerId, Unacceptable> {
    let certificate = certificate::parse(certificate).map_err(|error| Unacceptable::Libp2p(error.to_string()))?;
    // Of an Ed25519 key the libp2p peer id is the key itself, in the same text form as ours.
    certificate.peer_id().to_string().parse().map_err(|_| Unacceptable::KeyType)
}

impl PeerVerifier {
    /// For one dial.
    pub(crate) fn expecting(expected: Option<PeerId>) -> Self {
        Self { expected, why: OnceLock::new() }
    }

    /// Why the certificate of the one dial was refused.
    pub(crate) fn why(&self) -> Option<&Unacceptable> {
        self.why.get()
    }

    fn verify(&self, certificate: &CertificateDer<'_>, more: usize) -> Result<(), Error> {
        self.check(certificate, more).map_err(|why| {
            let _first_one_stays = self.why.set(why.clone());
            why.into()
        })
    }

    fn check(&self, certificate: &CertificateDer<'_>, more: usize) -> Result<(), Unacceptable> {
        if more > 0 {
            return Err(Unacceptable::Chain(1 + more));
        }
        let peer = peer_of(certificate)?;
        match self.expected {
            Some(expected) if expected != peer => Err(Unacceptable::WrongPeer(peer)),
            _ => Ok(()),
        }
    }
}

fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let unacceptable = |error: &dyn fmt::Display| Unacceptable::Libp2p(error.to_string());
    certificate::parse(certificate)
        .map_err(|error| unacceptable(&error))?
        .verify_signature(signed.scheme, message, signed.signature())
        .map_err(|error| unacceptable(&error))?;
    Ok(HandshakeSignatureValid::assertion())
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is spoken here".to_owned())
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates.len())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates.len())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}
