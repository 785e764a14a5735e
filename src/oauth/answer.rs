//! What the token endpoint said (RFC 6749 sections 5.1 and 5.2).

use std::time::Duration;

use serde::Deserialize;

use super::ask::masked;
use super::fault::Fault;

/// How long a token is good for where the server does not say.
const UNSAID: Duration = Duration::from_secs(3600);

/// Longer than any token is good for; what is said beyond is a mistake.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// So much of a server's explanation is told.
const WORDS_MAX: usize = 300;

/// What was granted. No Debug: nobody may see it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) access_token: String,
    pub(super) lifetime: Duration,
    /// Takes the place of the one that was used.
    pub(super) refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
    error_codes: Option<Vec<u32>>,
}

/// Reads an answer. `host` is whose it is, `secrets` what must not be told of its words.
pub(super) fn read(
    host: &str,
    (status, retry_after): (u16, Option<Duration>),
    body: &[u8],
    secrets: &[String],
) -> Result<Granted, Fault> {
    let refusal = || serde_json::from_slice::<Refusal>(body).ok();
    if status == 429 || status >= 500 {
        return Err(Fault::busy(host, status, retry_after));
    }
    if status != 200 {
        return Err(match refusal() {
            Some(Refusal { error: Some(error), error_description, error_codes }) => {
                let said = error_description.unwrap_or_default();
                let code = error_codes.and_then(|codes| codes.first().copied()).or_else(|| number(&said));
                let words = words(&masked(&said, secrets));
                Fault::refused(host, &words_of_code(&masked(&error, secrets)), code, &words)
            }
            _ => Fault::not_understood(host, status, redirect(status)),
        });
    }
    let not_understood = |what| Err(Fault::not_understood(host, status, what));
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return not_understood("it is not JSON") };
    let is_bearer = answer.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    match answer.access_token {
        // Control characters would end the login's own fields (RFC 7628 section 3.1).
        Some(token) if is_bearer && !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(Granted {
                access_token: token,
                lifetime: lifetime(answer.expires_in.as_ref()),
                refresh_token: answer.refresh_token.filter(|token| !token.is_empty()),
            })
        }
        Some(_) if !is_bearer => not_understood("the token is of another type than Bearer"),
        Some(_) => not_understood("the token has characters that no token has"),
        None => not_understood("there is no access_token in it"),
    }
}

fn redirect(status: u16) -> &'static str {
    if (300..400).contains(&status) { "it points to another place" } else { "it says no error that is known" }
}

/// Some servers put the number into quotes.
fn lifetime(said: Option<&serde_json::Value>) -> Duration {
    let seconds = said.and_then(|said| said.as_u64().or_else(|| said.as_str()?.trim().parse().ok()));
    seconds.map_or(UNSAID, |seconds| Duration::from_secs(seconds).min(LONGEST))
}

/// `AADSTS7000215: ...`: the number, where it is in no field of its own.
fn number(said: &str) -> Option<u32> {
    let rest = said.trim_start().strip_prefix("AADSTS")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The first line, without the numbers that only the server's own people can look up.
fn words(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let line = line.split(" Trace ID:").next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

/// An error code is one word (RFC 6749 section 5.2).
fn words_of_code(error: &str) -> String {
    error.chars().filter(|c| c.is_ascii_graphic()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Granted, Fault> {
        read("id.example.com", (status, None), body.as_bytes(), &["geheim".to_owned()])
    }

    fn refused(status: u16, body: &str) -> Fault {
        answer(status, body).err().expect("a refusal")
    }

    #[test]
    fn a_token_comes_with_its_time_and_perhaps_with_the_next_refresh_token() {
        let granted = |body: &str| {
            let Granted { access_token, lifetime, refresh_token } = answer(200, body).expect("a token");
            (access_token, lifetime.as_secs(), refresh_token)
        };
        assert_eq!(
            granted(r#"{"access_token":"a","token_type":"bearer","expires_in":3599,"refresh_token":"r"}"#),
            ("a".into(), 3599, Some("r".into()))
        );
        let others = [("\"3599\"", 3599), ("\"soon\"", 3600), ("null", 3600), ("-5", 3600), ("0", 0)];
        for (said, seconds) in others {
            let body = format!(r#"{{"access_token":"a","expires_in":{said},"refresh_token":""}}"#);
            assert_eq!(granted(&body), ("a".into(), seconds, None), "{said}");
        }
        assert_eq!(granted(r#"{"access_token":"a","expires_in":18446744073709551615}"#).1, 366 * 86_400);
    }

    #[test]
    fn what_is_not_understood_is_an_outage_and_is_not_quoted() {
        for (status, body, why) in [
            (200, "<html>geheim</html>", "it is not JSON"),
            (200, "{}", "there is no access_token"),
            (200, r#"{"access_token":["geheim"]}"#, "it is not JSON"),
            (200, r#"{"access_token":"a b"}"#, "characters that no token has"),
            (200, r#"{"access_token":"a","token_type":"mac"}"#, "another type than Bearer"),
            (302, "", "points to another place"),
            (400, "no", "no error that is known"),
            (404, r#"{"error":null}"#, "no error that is known"),
        ] {
            let fault = refused(status, body);
            assert!(fault.cause.contains(why), "{fault:?}");
            assert!(!fault.is_refusal && !fault.cause.contains("geheim"), "{fault:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_number_and_the_first_line_of_its_words() {
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret geheim provided.\r\nTrace ID: 1","error_codes":[7000215]}"#;
        let fault = refused(401, body);
        assert!(fault.is_refusal);
        assert_eq!(
            fault.cause,
            "the token endpoint id.example.com refused: the client secret is wrong (invalid_client, AADSTS7000215: \
             Invalid client secret **** provided.)"
        );
        // The same without the field, and with everything on one line.
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000222: Expired. Trace ID: 1 Correlation ID: 2"}"#;
        assert!(refused(401, body).cause.ends_with("has ended (invalid_client, AADSTS7000222: Expired.)"));
    }

    #[test]
    fn too_many_requests_and_broken_servers_are_outages() {
        let busy = read("h", (429, Some(Duration::from_secs(17))), b"{}", &[]).err().expect("busy");
        assert_eq!((busy.is_refusal, busy.again_after), (false, Some(Duration::from_secs(17))));
        for status in [500, 502, 503, 504] {
            let fault = refused(status, r#"{"error":"invalid_client"}"#);
            assert!(!fault.is_refusal && fault.cause.contains(&status.to_string()), "{fault:?}");
        }
    }
}
