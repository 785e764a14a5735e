//! A statement that the client signs in place of sending a secret (RFC 7523 section 3, JWT by RFC 7515 in its compact form).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fault::{Fault, tls_hint};
use crate::mail::UnixTime;
use crate::net::ClientCertificate;
use crate::smtp::Secret;

/// Before this the box's clock was never set, and no server would believe a statement of now.
const PLAUSIBLE: UnixTime = UnixTime::from_secs(1_700_000_000);

/// How long a statement is good for, seconds. Microsoft wants 5 to 10 minutes at most.
const GOOD_FOR: u64 = 300;

/// Signed with PS256, known by the SHA-256 of the certificate: what Microsoft Entra asks for.
pub(super) fn assertion(
    certificate: &ClientCertificate,
    client_id: &str,
    audience: &str,
    now: UnixTime,
) -> Result<Secret, Fault> {
    if now < PLAUSIBLE {
        return Err(Fault::ours(
            format!("a request for a token cannot be signed: it is {now} by this box's clock"),
            "set the clock (a time server); client_secret needs none",
        ));
    }
    let ours = |error: &crate::net::TlsError| Fault::ours(error.to_string(), tls_hint(error.kind));
    let signer = certificate.signer().map_err(|error| ours(&error))?;
    let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let head =
        json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": encoded(&Sha256::digest(signer.certificate())) });
    let since = now.as_secs();
    let claims = json!({
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": Uuid::new_v4().to_string(),
        "iat": since,
        "nbf": since,
        "exp": since + GOOD_FOR,
    });
    let text = format!("{}.{}", encoded(head.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
    let signature = signer.sign_ps256(text.as_bytes()).map_err(|error| ours(&error))?;
    Ok(Secret::new(format!("{text}.{}", encoded(&signature))))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn what_cannot_be_signed_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["box.example.com".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        let certificate = ClientCertificate { certificate: path.clone(), key: path };
        let at =
            |secs| assertion(&certificate, "box", "https://id/token", UnixTime::from_secs(secs)).unwrap_err();
        // An elliptic curve: the server wants RSA.
        let fault = at(1_800_000_000);
        assert!(
            fault.cause.contains("expected an RSA key") && fault.hint.contains("an RSA key"),
            "{fault:?}"
        );
        let fault = at(60);
        assert!(fault.cause.contains("1970-01-01T00:01:00Z") && fault.hint.contains("clock"), "{fault:?}");
        assert!(!fault.is_refusal);
    }
}
