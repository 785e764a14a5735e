//! The server's side of the mechanisms, written from the RFCs and not with the client's crates' own logic.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use sha2::Digest;

/// Which hash SCRAM is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => sha1::Sha1::digest(bytes).to_vec(),
            Hash::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
        }
    }

    fn keyed(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => {
                let mac = Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
                mac.chain_update(bytes).finalize().into_bytes().to_vec()
            }
            Hash::Sha256 => {
                let mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
                mac.chain_update(bytes).finalize().into_bytes().to_vec()
            }
        }
    }

    /// RFC 5802 section 2.2: Hi().
    fn salted(self, password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
        let mut last = self.keyed(password, &[salt, &1_u32.to_be_bytes()].concat());
        let mut all = last.clone();
        for _ in 1..rounds {
            last = self.keyed(password, &last);
            all = xor(&all, &last);
        }
        all
    }
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

pub(crate) fn decoded(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap_or_default()
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// A SCRAM login half-way (RFC 5802 section 5).
pub(crate) struct Scram {
    hash: Hash,
    gs2: String,
    first: String,
    challenge: String,
    bound_to: Option<Vec<u8>>,
}

const SALT: &[u8] = b"salt and pepper";
const ROUNDS: u32 = 4096;

impl Scram {
    /// Answers the client's first message; `None` if it is for another user. `bound_to` is what a bound mechanism must know.
    pub(crate) fn begin(
        hash: Hash,
        said: &[u8],
        user: &str,
        bound_to: Option<Vec<u8>>,
    ) -> Option<(Scram, String)> {
        let said = String::from_utf8(said.to_vec()).ok()?;
        let gs2 = if bound_to.is_some() { "p=tls-exporter,," } else { "" };
        let is_bound = said.starts_with("p=");
        let gs2 = match is_bound {
            true => gs2.to_owned(),
            false => said.get(..3)?.to_owned(),
        };
        let first = said.strip_prefix(&gs2).filter(|_| !gs2.is_empty() && is_bound == bound_to.is_some())?;
        let nonce = first.strip_prefix(&format!("n={user},r="))?;
        let challenge = format!("r={nonce}server,s={},i={ROUNDS}", encoded(SALT));
        let scram = Scram { hash, gs2, first: first.to_owned(), challenge: challenge.clone(), bound_to };
        Some((scram, challenge))
    }

    /// The server's proof if the client's is right.
    pub(crate) fn end(&self, said: &[u8], password: &str) -> Option<String> {
        let said = String::from_utf8(said.to_vec()).ok()?;
        let (without_proof, proof) = said.rsplit_once(",p=")?;
        let binding = [self.gs2.as_bytes(), self.bound_to.as_deref().unwrap_or_default()].concat();
        without_proof.strip_prefix(&format!("c={},", encoded(binding)))?;
        let salted = self.hash.salted(password.as_bytes(), SALT, ROUNDS);
        let client_key = self.hash.keyed(&salted, b"Client Key");
        let message = format!("{},{},{without_proof}", self.first, self.challenge);
        let signature = self.hash.keyed(&self.hash.of(&client_key), message.as_bytes());
        if decoded(proof) != xor(&client_key, &signature) {
            return None;
        }
        let server_key = self.hash.keyed(&salted, b"Server Key");
        Some(format!("v={}", encoded(self.hash.keyed(&server_key, message.as_bytes()))))
    }
}

/// RFC 2195 section 2.
pub(crate) fn cram_md5(challenge: &str, user: &str, password: &str) -> String {
    let mac = Hmac::<md5::Md5>::new_from_slice(password.as_bytes()).unwrap();
    let digest = mac.chain_update(challenge).finalize().into_bytes();
    format!("{user} {}", digest.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
}
