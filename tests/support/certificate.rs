//! An own authority and what it signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::fs::{Mode, chmod};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

/// An authority; its certificate lies in a file.
pub(crate) struct Authority {
    pub(crate) ca_file: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate with its key.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    /// As it stands in `pin`.
    pub(crate) pin: String,
}

impl Authority {
    pub(crate) fn new(ca_file: PathBuf) -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = ca_file.file_name().unwrap().to_string_lossy().into_owned();
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(&ca_file, issuer.pem()).unwrap();
        Authority { ca_file, issuer }
    }

    /// A server for `name`; `clients` is who has to have signed the certificate of a client.
    pub(crate) fn server(
        &self,
        name: &str,
        clients: Option<&Authority>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let pin = pillarbox::net::Pin::of(certificate.der()).unwrap().to_string();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        Identity { config: Arc::new(config), pin }
    }

    /// A client's certificate with its key, in one file.
    pub(crate) fn client(&self, file: &Path, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["box.example.com".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(file, certificate.pem() + &key.serialize_pem()).unwrap();
        chmod(file, Mode::RUSR | Mode::WUSR).unwrap();
    }
}

/// The authority's certificate in a file below `dir`, and a server's key and certificate for `name`.
pub(crate) fn certificate(dir: &Path, name: &str) -> (PathBuf, Arc<ServerConfig>) {
    let authority = Authority::new(dir.join(format!("ca of {name}.pem")));
    let server = authority.server(name, None, |_| {});
    (authority.ca_file, server.config)
}
