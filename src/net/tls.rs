//! TLS: whom to trust, and why not, in plain words.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{self, CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage,
    PeerIncompatible, ProtocolVersion, RootCertStore, SignatureScheme,
};

use super::certificate::{Pin, is_self_signed, not_after};
use crate::mail::UnixTime;

/// RFC 9266 section 4.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Certificates (PEM) that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// What a certificate that does not verify means.
    pub verify: Verify,
    /// If there are any, the server's key must be one of these, and nothing else counts: neither who signed its certificate
    /// nor its dates and names.
    pub pins: Vec<Pin>,
    /// Who we are.
    pub client: Option<ClientCertificate>,
}

/// A client certificate with its key, both PEM; may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and behind it those of its issuers.
    pub certificate: PathBuf,
    /// Its private key, which nobody else may read.
    pub key: PathBuf,
}

/// What a certificate that does not verify means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// No session.
    #[default]
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
    pins: Arc<[Pin]>,
    client_ends: Option<UnixTime>,
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
    /// `tls-exporter` data for channel binding (RFC 9266). Not with TLS 1.2, where it binds nothing without an extension
    /// that cannot be asked for here.
    pub exported: Option<Vec<u8>>,
    /// The last second of the client certificate that was shown.
    pub client_ends: Option<UnixTime>,
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
    /// Nobody trusted has signed it.
    UnknownIssuer,
    /// The same, and nobody else has either.
    SelfSigned,
    /// It is for another name.
    WrongName,
    /// Taken back by its issuer.
    Revoked,
    /// Its key is none of those that are pinned.
    Pin,
    /// Something else, told by the text.
    Other,
}

/// Why there is no TLS. The kind decides; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    /// The kind.
    pub kind: TlsFault,
    detail: String,
    /// The server's certificate (DER), where it is what is wrong; else empty.
    pub certificate: Vec<u8>,
}

/// The ways in which TLS fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate.
    Certificate(CertificateFault),
    /// `ca_file` cannot be read or holds no certificate.
    CaFile,
    /// The client certificate or its key cannot be used.
    ClientFile,
    /// The server wants a client certificate, or another one.
    ClientRefused,
    /// Nothing is trusted on this system.
    NoRoots,
    /// The host's name cannot stand in a certificate.
    Name,
    /// What answered does not speak TLS.
    NotTls,
    /// The server speaks nothing newer than TLS 1.1 (RFC 8996).
    TooOld,
    /// The two sides have nothing else in common, or the server broke off.
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
        if roots.is_empty() && options.verify == Verify::Required && options.pins.is_empty() {
            let why = system.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            let detail = format!("expected trusted certificates on this system, found none{why}");
            return Err(TlsError::new(TlsFault::NoRoots, detail));
        }
        Self::with_roots(roots, options)
    }

    fn with_roots(roots: RootCertStore, options: &TlsOptions) -> Result<Self, TlsError> {
        let handshake = |error: &dyn fmt::Display| TlsError::new(TlsFault::Handshake, error.to_string());
        let provider = Arc::new(crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build().ok();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| handshake(&e))?
            .with_root_certificates(roots);
        let mut client_ends = None;
        let mut config = match &options.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (chain, key) = client.read()?;
                client_ends = chain.first().and_then(|leaf| not_after(leaf));
                builder.with_client_auth_cert(chain, key).map_err(|e| client.error(&e))?
            }
        };
        // A resumed session shows no certificate: nobody could say what was wrong with it.
        config.resumption = Resumption::disabled();
        let (verify, pins) = (options.verify, options.pins.clone().into());
        Ok(TlsConfig { config, verifier, provider, verify, pins, client_ends })
    }

    /// The handshake with `host`, which the certificate must be for.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), TlsError> {
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|_| {
            let detail = format!("expected a host name that a certificate can be for, found {host:?}");
            TlsError::new(TlsFault::Name, detail)
        })?;
        let verifier = Arc::new(Remembering {
            inner: self.verifier.clone(),
            provider: self.provider.clone(),
            verify: self.verify,
            pins: self.pins.clone(),
            problem: Mutex::new(None),
            seen: Mutex::default(),
        });
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(verifier.clone());
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(
                |error| match verifier.problem().filter(|p| p.fault == CertificateFault::Pin) {
                    Some(problem) => problem.into(),
                    None => TlsError::of(&error).with(verifier.seen()),
                },
            )?;
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
            problem: verifier.problem(),
            exported: (session.protocol_version() == Some(ProtocolVersion::TLSv1_3))
                .then(|| session.export_keying_material(vec![0; 32], EXPORTER, Some(b"")).ok())
                .flatten(),
            client_ends: self.client_ends,
        };
        Ok((stream, facts))
    }
}

impl ClientCertificate {
    pub(super) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let pem = std::fs::read(&self.certificate)
            .map_err(|e| self.error(&format!("cannot read {}: {e}", self.certificate.display())))?;
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let chain =
            chain.map_err(|e| self.error(&format!("cannot read {}: {e:?}", self.certificate.display())))?;
        if chain.is_empty() {
            return Err(self.error(&format!("there is no certificate in {}", self.certificate.display())));
        }
        let cannot = |e: &dyn fmt::Display| self.error(&format!("cannot read {}: {e}", self.key.display()));
        let mode = std::fs::metadata(&self.key).map_err(|e| cannot(&e))?.mode() & 0o7777;
        if mode & 0o007 != 0 {
            let key = self.key.display();
            return Err(self.error(&format!("others can read the key (mode {mode:04o}): chmod o= {key}")));
        }
        let pem = std::fs::read(&self.key).map_err(|e| cannot(&e))?;
        // What is wrong with a key is told without its text.
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| cannot(&"expected a private key (PEM)"))?;
        Ok((chain, key))
    }

    pub(super) fn error(&self, why: &dyn fmt::Display) -> TlsError {
        TlsError::new(TlsFault::ClientFile, format!("the client certificate cannot be used: {why}"))
    }
}

fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let error = |found: &dyn fmt::Display| {
        let detail = format!("expected certificates (PEM) in {}, found {found}", path.display());
        TlsError::new(TlsFault::CaFile, detail)
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
    pins: Arc<[Pin]>,
    problem: Mutex<Option<CertificateProblem>>,
    /// The certificate itself.
    seen: Mutex<Vec<u8>>,
}

impl Remembering {
    fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn problem(&self) -> Option<CertificateProblem> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, problem: CertificateProblem) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = end_entity.to_vec();
        if !self.pins.is_empty() {
            let key = Pin::of(end_entity);
            if key.is_some_and(|key| self.pins.contains(&key)) {
                return Ok(ServerCertVerified::assertion());
            }
            let found = key.map_or_else(|| "none that can be read".to_owned(), |key| key.to_string());
            let detail = format!("its key is {found}, expected the one in pin");
            self.remember(CertificateProblem { fault: CertificateFault::Pin, detail });
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let verdict = match &self.inner {
            Some(inner) => {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verdict {
            Err(rustls::Error::InvalidCertificate(error)) if self.verify == Verify::Opportunistic => {
                self.remember(CertificateProblem::of(&error).refined(end_entity));
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
                CertificateFault::SelfSigned,
                "it is self-signed (an issuer's certificate used by a server)".to_owned(),
            ),
            other => (CertificateFault::Other, other.to_string()),
        };
        CertificateProblem { fault, detail }
    }
}

impl CertificateProblem {
    /// What only the certificate itself tells.
    fn refined(self, certificate: &[u8]) -> Self {
        match self.fault {
            CertificateFault::UnknownIssuer if is_self_signed(certificate) => {
                CertificateProblem { fault: CertificateFault::SelfSigned, ..self }
            }
            _ => self,
        }
    }
}

/// `DnsName("mx.example.com")` without what is around the name.
fn bare_name(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

impl TlsError {
    fn new(kind: TlsFault, detail: String) -> Self {
        TlsError { kind, detail, certificate: Vec::new() }
    }

    /// With the certificate that the server has shown.
    fn with(mut self, certificate: Vec<u8>) -> Self {
        if let TlsFault::Certificate(fault) = self.kind {
            let problem = CertificateProblem { fault, detail: std::mem::take(&mut self.detail) };
            let CertificateProblem { fault, detail } = problem.refined(&certificate);
            self = TlsError { kind: TlsFault::Certificate(fault), detail, certificate };
        }
        self
    }

    pub(super) fn unconfigured() -> Self {
        let detail = "expected a TLS configuration for this session, found none".to_owned();
        TlsError::new(TlsFault::Unconfigured, detail)
    }

    pub(super) fn timed_out(seconds: u64) -> Self {
        TlsError::new(TlsFault::Link, format!("the handshake was not done within {seconds} s"))
    }

    /// A refusal of the client certificate that came behind the handshake, as it does with TLS 1.3.
    pub(super) fn after_handshake(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::AlertReceived(alert) if is_about_client(*alert) => {
                Some(TlsError::new(TlsFault::ClientRefused, client_refused(*alert)))
            }
            _ => None,
        }
    }

    fn of(error: &io::Error) -> Self {
        let (kind, detail) = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(certificate)) => {
                return CertificateProblem::of(certificate).into();
            }
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => (
                TlsFault::NotTls,
                "expected a TLS handshake, found something else (the server does not speak TLS here)"
                    .to_owned(),
            ),
            Some(rustls::Error::AlertReceived(alert)) if is_about_client(*alert) => {
                (TlsFault::ClientRefused, client_refused(*alert))
            }
            Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
                (TlsFault::TooOld, "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned())
            }
            Some(rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            )) => (TlsFault::TooOld, "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned()),
            Some(rustls::Error::AlertReceived(alert)) => {
                (TlsFault::Handshake, format!("the server broke the handshake off: {alert:?}"))
            }
            Some(other) => (TlsFault::Handshake, other.to_string().to_lowercase()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                (TlsFault::Link, "the server closed the connection during the handshake".to_owned())
            }
            None => (TlsFault::Link, error.to_string().to_lowercase()),
        };
        TlsError::new(kind, detail)
    }
}

fn is_about_client(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
    )
}

fn client_refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "the server wants a client certificate".to_owned(),
        other => format!("the server refused the client certificate: {other:?}"),
    }
}

impl From<CertificateProblem> for TlsError {
    fn from(problem: CertificateProblem) -> Self {
        TlsError::new(TlsFault::Certificate(problem.fault), problem.to_string())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    /// What a box sees whose clock has never been set, and one whose clock is far ahead.
    #[test]
    fn a_good_certificate_is_judged_by_the_time_that_is_given() {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec!["mx.example.com".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &ca).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let TlsConfig { verifier, provider, .. } =
            TlsConfig::with_roots(roots, &TlsOptions::default()).unwrap();
        let at = |year: u64, verify| {
            let pins = Arc::from([]);
            let judge = Remembering {
                inner: verifier.clone(),
                provider: provider.clone(),
                verify,
                pins,
                problem: Mutex::new(None),
                seen: Mutex::default(),
            };
            let now = pki_types::UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952));
            let name = ServerName::try_from("mx.example.com").unwrap();
            let verdict = judge.verify_server_cert(certificate.der(), &[], &name, &[], now);
            let fault = match &verdict {
                Err(rustls::Error::InvalidCertificate(error)) => Some(CertificateProblem::of(error).fault),
                Err(other) => panic!("{other}"),
                Ok(_) => None,
            };
            (fault, judge.problem().map(|problem| problem.fault))
        };
        use CertificateFault::{Expired, NotYetValid};
        assert_eq!(at(1970, Verify::Required), (Some(NotYetValid), None));
        assert_eq!(at(1970, Verify::Opportunistic), (None, Some(NotYetValid)));
        assert_eq!(at(2025, Verify::Required), (None, None));
        assert_eq!(at(2038, Verify::Required), (Some(Expired), None));
    }
}
