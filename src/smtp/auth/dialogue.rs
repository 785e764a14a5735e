//! One mechanism's side of its dialogue: challenges in, responses out, both without base64. rsasl (and our own CRAM-MD5)
//! are known here and nowhere else.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use md5::Md5;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};

use rsasl::config::SASLConfig;
use rsasl::mechanisms::oauthbearer::{OAUTHBEARER, properties::OAuthBearerErrored};
use rsasl::mechanisms::scram::{SCRAM_SHA1, SCRAM_SHA1_PLUS, SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::mechanisms::xoauth2::{XOAUTH2, properties::XOAuth2Error};
use rsasl::mechanisms::{external::EXTERNAL, login::LOGIN, plain::PLAIN};
use rsasl::mechname::Mechname;
use rsasl::prelude::{ChannelBindingCallback, Registry, SASLClient, Session, SessionError};
use rsasl::property::{AuthId, AuthzId, OAuthBearerToken, Password};
use rsasl::validate::NoValidation;

use super::{Credential, Mechanism, Secret};

/// The most rounds of PBKDF2 that a server may ask for: above that it keeps the box busy and does nothing for anybody.
const ITERATIONS_MAX: u32 = 1_000_000;

/// One mechanism at work. No Debug: it holds the password.
pub(super) struct Dialogue {
    mechanism: Mechanism,
    inner: Inner,
    /// Nothing more is to be said.
    is_finished: bool,
    /// What was said so far shows the password or proves that it is known: a refusal counts as a try of it.
    has_spent: bool,
    steps: u32,
}

enum Inner {
    Sasl(Box<Session<NoValidation, Binding>>),
    CramMd5 { user: String, password: Secret },
}

/// `tls-exporter` data (RFC 9266), if there is any.
struct Binding(Option<Vec<u8>>);

impl ChannelBindingCallback for Binding {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        self.0.as_deref().filter(|_| name == "tls-exporter")
    }
}

/// What rsasl asks for.
struct Answers {
    mechanism: Mechanism,
    user: String,
    credential: Credential,
    /// We could bind and the server cannot: SCRAM says so, and a server that can will notice a forged offer
    /// (RFC 5802 section 6).
    says_it_could_bind: bool,
}

impl SessionCallback for Answers {
    fn callback(
        &self,
        _session: &SessionData,
        _context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        // The server's reasons come as JSON; its reply behind them decides.
        if request.get_action::<XOAuth2Error>().is_some()
            || request.get_action::<OAuthBearerErrored>().is_some()
        {
            return Ok(());
        }
        request.satisfy::<AuthId>(&self.user)?;
        if matches!(self.mechanism, Mechanism::OAuthBearer | Mechanism::External) && !self.user.is_empty() {
            request.satisfy::<AuthzId>(&self.authorization_id())?;
        }
        match &self.credential {
            Credential::Password(password) => {
                request.satisfy::<Password>(password.expose().as_bytes())?;
            }
            Credential::Token(token) => {
                request.satisfy::<OAuthBearerToken>(token.expose())?;
            }
            Credential::Certificate => {}
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.mechanism.is_bound() || self.says_it_could_bind
    }
}

impl Answers {
    /// A `saslname` in a GS2 header (RFC 5801 section 4), as it is elsewhere.
    fn authorization_id(&self) -> String {
        match self.mechanism {
            Mechanism::OAuthBearer => self.user.replace('=', "=3D").replace(',', "=2C"),
            _ => self.user.clone(),
        }
    }
}

impl Dialogue {
    /// `binding` is what the TLS connection gives for channel binding; `server_binds` whether the server offers any
    /// mechanism that is bound.
    pub(super) fn new(
        mechanism: Mechanism,
        user: &str,
        credential: &Credential,
        binding: Option<&[u8]>,
        server_binds: bool,
    ) -> Result<Self, String> {
        let inner = match (mechanism, credential) {
            (Mechanism::CramMd5, Credential::Password(password)) => {
                Inner::CramMd5 { user: user.to_owned(), password: password.clone() }
            }
            _ => {
                let answers = Answers {
                    mechanism,
                    user: user.to_owned(),
                    credential: credential.clone(),
                    says_it_could_bind: binding.is_some() && !server_binds,
                };
                Inner::Sasl(Box::new(session(mechanism, answers, binding)?))
            }
        };
        Ok(Dialogue { mechanism, inner, is_finished: false, has_spent: false, steps: 0 })
    }

    /// What can be said before the server asks; `None` if the server has the first word.
    pub(super) fn initial(&mut self) -> Result<Option<Vec<u8>>, String> {
        match &self.inner {
            Inner::Sasl(session) if session.are_we_first() => self.answer(None).map(Some),
            _ => Ok(None),
        }
    }

    /// The response to a challenge. An error ends the dialogue; it never holds what was said.
    pub(super) fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, String> {
        if self.is_finished {
            return Err("expected 235 to a complete login, found 334".to_owned());
        }
        if self.mechanism.is_scram() {
            check_iterations(challenge)?;
        }
        if self.mechanism == Mechanism::OAuthBearer {
            // RFC 7628 section 3.2.3: the server has said why, and a dummy lets it say its reply.
            self.is_finished = true;
            return Ok(vec![1]);
        }
        self.answer(Some(challenge))
    }

    /// Whether a refusal now counts as a try of the password.
    pub(super) fn has_spent(&self) -> bool {
        self.has_spent
    }

    /// Whether 235 may be believed: with SCRAM only once the server has proved that it knows the password
    /// (RFC 5802 section 5).
    pub(super) fn may_succeed(&self) -> bool {
        self.is_finished || !self.mechanism.is_scram()
    }

    fn answer(&mut self, challenge: Option<&[u8]>) -> Result<Vec<u8>, String> {
        self.steps += 1;
        let mut response = Vec::new();
        match &mut self.inner {
            Inner::CramMd5 { user, password } => {
                response = cram_md5(user, password, challenge.unwrap_or_default())?;
                self.is_finished = true;
            }
            Inner::Sasl(session) => {
                let state = session.step(challenge, &mut response).map_err(|error| {
                    self.is_finished = true;
                    format!("{} cannot go on: {}", self.mechanism, plain(&error))
                })?;
                self.is_finished = state.is_finished();
            }
        }
        self.has_spent = match self.mechanism {
            // The first message has the name, the second the proof or the password.
            m if m.is_scram() => self.steps >= 2,
            Mechanism::Login => self.steps >= 2,
            _ => true,
        };
        Ok(response)
    }
}

fn session(
    mechanism: Mechanism,
    answers: Answers,
    binding: Option<&[u8]>,
) -> Result<Session<NoValidation, Binding>, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("{mechanism} cannot be set up: {error}");
    let config: Arc<SASLConfig> = SASLConfig::builder()
        .with_registry(registry(mechanism))
        .with_callback(answers)
        .map_err(|e| cannot(&e))?;
    let name = Mechname::parse(mechanism.name().as_bytes()).map_err(|e| cannot(&e))?;
    let client = SASLClient::with_cb(config, Binding(binding.map(<[u8]>::to_vec)));
    client.start_suggested(&[name]).map_err(|e| cannot(&e))
}

/// The one mechanism: rsasl's own choice among several is not ours, and its list leaves the bound ones out.
fn registry(mechanism: Mechanism) -> Registry {
    static BOUND_256: [rsasl::prelude::Mechanism; 1] = [SCRAM_SHA256_PLUS];
    static BOUND_1: [rsasl::prelude::Mechanism; 1] = [SCRAM_SHA1_PLUS];
    static SHA_256: [rsasl::prelude::Mechanism; 1] = [SCRAM_SHA256];
    static SHA_1: [rsasl::prelude::Mechanism; 1] = [SCRAM_SHA1];
    static ONE_STEP: [rsasl::prelude::Mechanism; 5] = [PLAIN, LOGIN, OAUTHBEARER, XOAUTH2, EXTERNAL];
    Registry::with_mechanisms(match mechanism {
        Mechanism::ScramSha256Plus => &BOUND_256,
        Mechanism::ScramSha1Plus => &BOUND_1,
        Mechanism::ScramSha256 => &SHA_256,
        Mechanism::ScramSha1 => &SHA_1,
        _ => &ONE_STEP,
    })
}

/// Without what stands in the error: that may be the server's text, which quotes.
fn plain(error: &SessionError) -> &'static str {
    match error {
        SessionError::MutualAuthenticationFailed => {
            "the server could not prove that it knows the password: it may not be the one that it says it is"
        }
        SessionError::MechanismError(_) => {
            "what the server sent is not what the mechanism wants, or is a refusal"
        }
        _ => "what it needs is not there",
    }
}

/// RFC 5802 section 5.1: the attribute `i`.
fn check_iterations(challenge: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(challenge);
    let Some(count) = text.split(',').find_map(|attribute| attribute.strip_prefix("i=")) else {
        return Ok(());
    };
    match count.parse::<u64>() {
        Ok(count) if count > u64::from(ITERATIONS_MAX) => {
            Err(format!("the server asks for {count} iterations of SCRAM, expected at most {ITERATIONS_MAX}"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(format!("expected at most {ITERATIONS_MAX} iterations of SCRAM, found no such number")),
    }
}

/// RFC 2195 section 2: the name, and the keyed digest of the challenge in hex.
fn cram_md5(user: &str, password: &Secret, challenge: &[u8]) -> Result<Vec<u8>, String> {
    let mut mac = Hmac::<Md5>::new_from_slice(password.expose().as_bytes())
        .map_err(|error| format!("CRAM-MD5 cannot be set up: {error}"))?;
    mac.update(challenge);
    let digest: String = mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(format!("{user} {digest}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Credential {
        Credential::Password(Secret::new(text))
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn cram_md5_is_that_of_the_rfc() {
        let mut dialogue =
            Dialogue::new(Mechanism::CramMd5, "tim", &password("tanstaaftanstaaf"), None, false).unwrap();
        assert_eq!(dialogue.initial(), Ok(None));
        assert!(!dialogue.has_spent());
        let response = dialogue.step(b"<1896.697170952@postoffice.reston.mci.net>").unwrap();
        assert_eq!(text(response), "tim b913a602c7eda7a495b4e6e7334d3890");
        assert!(dialogue.has_spent());
    }

    #[test]
    fn scram_asks_for_no_password_before_the_server_has_shown_its_salt() {
        let mut dialogue =
            Dialogue::new(Mechanism::ScramSha256, "user", &password("pencil"), None, false).unwrap();
        let first = text(dialogue.initial().unwrap().unwrap());
        assert!(first.starts_with("n,,n=user,r="), "{first}");
        assert!(!dialogue.has_spent());
        let nonce = first.rsplit("r=").next().unwrap();
        let challenge = format!("r={nonce}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let last = text(dialogue.step(challenge.as_bytes()).unwrap());
        assert!(last.starts_with(&format!("c=biws,r={nonce}more,p=")), "{last}");
        assert!(dialogue.has_spent() && !dialogue.may_succeed());
        let error = dialogue.step(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap_err();
        assert!(error.contains("could not prove that it knows the password"), "{error}");
    }

    #[test]
    fn scram_says_that_it_could_bind_and_binds_where_both_can() {
        let first = |mechanism, server_binds| {
            let dialogue =
                Dialogue::new(mechanism, "user", &password("pencil"), Some(b"exported"), server_binds);
            text(dialogue.unwrap().initial().unwrap().unwrap())
        };
        assert!(first(Mechanism::ScramSha256, false).starts_with("y,,"));
        assert!(first(Mechanism::ScramSha256, true).starts_with("n,,"));
        assert!(first(Mechanism::ScramSha256Plus, true).starts_with("p=tls-exporter,,"));
    }

    #[test]
    fn scram_does_not_calculate_for_ever() {
        for (count, words) in [("1000001", "at most 1000000"), ("99999999999999999999", "no such number")] {
            let mut dialogue =
                Dialogue::new(Mechanism::ScramSha1, "user", &password("pencil"), None, false).unwrap();
            let first = text(dialogue.initial().unwrap().unwrap());
            let nonce = first.rsplit("r=").next().unwrap();
            let challenge = format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i={count}");
            let error = dialogue.step(challenge.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!dialogue.has_spent());
        }
    }

    #[test]
    fn a_token_goes_out_in_the_form_that_each_mechanism_wants() {
        let token = Credential::Token(Secret::new("ya29"));
        let first = |mechanism| {
            let mut dialogue = Dialogue::new(mechanism, "box@example.com", &token, None, false).unwrap();
            let first = text(dialogue.initial().unwrap().unwrap());
            (first, dialogue.step(b"{\"status\":\"401\"}").unwrap())
        };
        assert_eq!(
            first(Mechanism::XOAuth2),
            ("user=box@example.com\x01auth=Bearer ya29\x01\x01".to_owned(), Vec::new())
        );
        assert_eq!(
            first(Mechanism::OAuthBearer),
            ("n,a=box@example.com,\x01auth=Bearer ya29\x01\x01".to_owned(), vec![1])
        );
    }

    #[test]
    fn external_names_the_user_if_there_is_one() {
        for user in ["", "box"] {
            let dialogue = Dialogue::new(Mechanism::External, user, &Credential::Certificate, None, false);
            assert_eq!(dialogue.unwrap().initial(), Ok(Some(user.as_bytes().to_vec())));
        }
    }
}
