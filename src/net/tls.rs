//! TLS: whom to trust, and why not, in plain words.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore,
    SignatureScheme,
};

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates (PEM) that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// What a certificate that does not verify means.
    pub verify: Verify,
}

/// What a certificate that does not verify means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// No session.
    Required,
    /// The session is held all the same and [`TlsFacts::problem`] says why it should not be: against someone
    /// who only listens, unverified TLS is better than none (RFC 7435).
    Opportunistic,
}

/// A built configuration. Build it anew to see changes of the system's certificates or of `ca_file`.
#[derive(Clone)]
pub struct TlsConfig {
    config: ClientConfig,
    /// `None` if there is no trusted certificate at all.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    verify: Verify,
}

/// What a handshake came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: String,
    /// The cipher suite.
    pub cipher_suite: String,
    /// The server's own certificate (DER).
    pub certificate: Vec<u8>,
    /// Why the certificate does not verify; only with [`Verify::Opportunistic`].
    pub problem: Option<CertificateProblem>,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateProblem {
    /// The kind.
    pub fault: CertificateFault,
    detail: String,
}

/// The kinds of what can be wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// Its time is over (or the box's clock is ahead).
    Expired,
    /// Its time has not come (most often the box's clock is behind).
    NotYetValid,
    /// Nobody trusted has signed it; self-signed ones too.
    UnknownIssuer,
    /// It is for another name.
    WrongName,
    /// Taken back by its issuer.
    Revoked,
    /// Something else, told by the text.
    Other,
}

/// Why there is no TLS. The kind decides; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    /// The kind.
    pub kind: TlsFault,
    detail: String,
}

/// The ways in which TLS fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate.
    Certificate(CertificateFault),
    /// `ca_file` cannot be read or holds no certificate.
    CaFile,
    /// Nothing is trusted on this system.
    NoRoots,
    /// The host's name cannot stand in a certificate.
    Name,
    /// What answered does not speak TLS.
    NotTls,
    /// The two sides have no version or cipher in common, or the server broke off.
    Handshake,
    /// The connection broke, closed or was silent in the middle.
    Link,
    /// The session wants TLS and was given no configuration for it.
    Unconfigured,
}

impl TlsConfig {
    /// Reads the system's certificates and `ca_file`.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let system = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = &options.ca_file {
            add_ca_file(&mut roots, path)?;
        }
        if roots.is_empty() && options.verify == Verify::Required {
            let why = system.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            let detail = format!("expected trusted certificates on this system, found none{why}");
            return Err(TlsError { kind: TlsFault::NoRoots, detail });
        }
        Self::with_roots(roots, options.verify)
    }

    fn with_roots(roots: RootCertStore, verify: Verify) -> Result<Self, TlsError> {
        let handshake =
            |error: &dyn fmt::Display| TlsError { kind: TlsFault::Handshake, detail: error.to_string() };
        let provider = Arc::new(crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build().ok();
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| handshake(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A resumed session shows no certificate: nobody could say what was wrong with it.
        config.resumption = Resumption::disabled();
        Ok(TlsConfig { config, verifier, provider, verify })
    }

    /// The handshake with `host`, which the certificate must be for.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), TlsError> {
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|_| TlsError {
            kind: TlsFault::Name,
            detail: format!("expected a host name that a certificate can be for, found {host:?}"),
        })?;
        let verifier = Arc::new(Remembering {
            inner: self.verifier.clone(),
            provider: self.provider.clone(),
            verify: self.verify,
            problem: Mutex::new(None),
        });
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(verifier.clone());
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| TlsError::of(&error))?;
        let (_, session) = stream.get_ref();
        let shown = |value: Option<String>| value.unwrap_or_default();
        let facts = TlsFacts {
            version: shown(session.protocol_version().map(|version| format!("{version:?}"))),
            cipher_suite: shown(
                session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())),
            ),
            certificate: session
                .peer_certificates()
                .and_then(<[_]>::first)
                .map_or_else(Vec::new, |c| c.to_vec()),
            problem: verifier.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        Ok((stream, facts))
    }
}

fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let error = |found: &dyn fmt::Display| TlsError {
        kind: TlsFault::CaFile,
        detail: format!("expected certificates (PEM) in {}, found {found}", path.display()),
    };
    let pem = std::fs::read(path).map_err(|e| error(&e))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| error(&format!("{e:?}")))?;
        roots.add(certificate).map_err(|e| error(&e))?;
        count += 1;
    }
    if count == 0 { Err(error(&"none")) } else { Ok(()) }
}

/// webpki's verdict, kept for whoever wants to know it. One for each handshake.
#[derive(Debug)]
struct Remembering {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    verify: Verify,
    problem: Mutex<Option<CertificateProblem>>,
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = match &self.inner {
            Some(inner) => {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verdict {
            Err(rustls::Error::InvalidCertificate(error)) if self.verify == Verify::Opportunistic => {
                *self.problem.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(CertificateProblem::of(&error));
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    // The signatures are checked in either case: whoever answers has the key of the certificate that was shown.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl CertificateProblem {
    fn of(error: &CertificateError) -> Self {
        use CertificateError as E;
        let (fault, detail) = match error {
            E::Expired | E::ExpiredContext { .. } => {
                (CertificateFault::Expired, "it has expired (or this box's clock is ahead)".to_owned())
            }
            E::NotValidYet | E::NotValidYetContext { .. } => (
                CertificateFault::NotYetValid,
                "it is not valid yet (or this box's clock is behind)".to_owned(),
            ),
            E::UnknownIssuer => {
                (CertificateFault::UnknownIssuer, "nobody that this box trusts has signed it".to_owned())
            }
            E::NotValidForNameContext { expected, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                let expected = expected.to_str();
                (CertificateFault::WrongName, format!("it is for {names}, expected {expected}"))
            }
            // An authority that was made anew under its old name.
            E::BadSignature => (
                CertificateFault::UnknownIssuer,
                "it is signed with another key than that of the issuer that this box trusts".to_owned(),
            ),
            E::NotValidForName => (CertificateFault::WrongName, "it is for another name".to_owned()),
            E::Revoked => (CertificateFault::Revoked, "its issuer has revoked it".to_owned()),
            E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
                CertificateFault::UnknownIssuer,
                "it is self-signed (an issuer's certificate used by a server)".to_owned(),
            ),
            other => (CertificateFault::Other, other.to_string()),
        };
        CertificateProblem { fault, detail }
    }
}

/// `DnsName("mx.example.com")` without what is around the name.
fn bare_name(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

impl TlsError {
    pub(super) fn unconfigured() -> Self {
        let detail = "expected a TLS configuration for this session, found none".to_owned();
        TlsError { kind: TlsFault::Unconfigured, detail }
    }

    pub(super) fn timed_out(seconds: u64) -> Self {
        TlsError { kind: TlsFault::Link, detail: format!("the handshake was not done within {seconds} s") }
    }

    fn of(error: &io::Error) -> Self {
        let (kind, detail) = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(certificate)) => {
                let problem = CertificateProblem::of(certificate);
                (TlsFault::Certificate(problem.fault), problem.to_string())
            }
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => (
                TlsFault::NotTls,
                "expected a TLS handshake, found something else (the server does not speak TLS here)"
                    .to_owned(),
            ),
            Some(rustls::Error::AlertReceived(alert)) => {
                (TlsFault::Handshake, format!("the server broke the handshake off: {alert:?}"))
            }
            Some(other) => (TlsFault::Handshake, other.to_string().to_lowercase()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                (TlsFault::Link, "the server closed the connection during the handshake".to_owned())
            }
            None => (TlsFault::Link, error.to_string().to_lowercase()),
        };
        TlsError { kind, detail }
    }
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's certificate cannot be trusted: {}", self.detail)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for TlsError {}
