//! The key of a client certificate, for what is signed outside of TLS.

use std::sync::Arc;

use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::crypto;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::sign::SigningKey;

use super::{ClientCertificate, TlsError};

/// A certificate and its key. No Debug.
pub struct Signer<'a> {
    of: &'a ClientCertificate,
    certificate: CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
}

impl ClientCertificate {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// What cannot be read or used; never the key.
    pub fn signer(&self) -> Result<Signer<'_>, TlsError> {
        let (chain, key) = self.read()?;
        let certificate = chain.into_iter().next().ok_or_else(|| self.error(&"there is none"))?;
        let key = crypto::ring::default_provider().key_provider.load_private_key(key);
        let key =
            key.map_err(|_| self.error(&format!("expected a private key in {}", self.key.display())))?;
        Ok(Signer { of: self, certificate, key })
    }
}

impl Signer<'_> {
    /// The certificate itself, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// RSASSA-PSS with SHA-256 (RFC 7518 section 3.5).
    ///
    /// # Errors
    ///
    /// The key is none of RSA.
    pub fn sign_ps256(&self, text: &[u8]) -> Result<Vec<u8>, TlsError> {
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]);
        let signer = signer.ok_or_else(|| self.of.error(&"expected an RSA key, found another kind"))?;
        signer.sign(text).map_err(|error| self.of.error(&error))
    }
}
