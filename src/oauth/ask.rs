//! The request for a token, as the form that is sent (RFC 6749 sections 4.4.2 and 6, RFC 7521 section 4.2).

/// What is asked with. No Debug: most of it nobody may see.
pub(super) struct Asked<'a> {
    pub(super) client_id: &'a str,
    pub(super) client_secret: Option<&'a str>,
    /// A signed statement in place of the secret.
    pub(super) assertion: Option<&'a str>,
    /// Without one the application asks for itself.
    pub(super) refresh_token: Option<&'a str>,
    pub(super) scope: Option<&'a str>,
}

impl Asked<'_> {
    /// `grant_type=...&client_id=...`
    pub(super) fn form(&self) -> String {
        let grant = if self.refresh_token.is_some() { "refresh_token" } else { "client_credentials" };
        let kind = self.assertion.map(|_| "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let fields = [
            ("grant_type", Some(grant)),
            ("client_id", Some(self.client_id)),
            ("client_secret", self.client_secret),
            ("client_assertion_type", kind),
            ("client_assertion", self.assertion),
            ("refresh_token", self.refresh_token),
            ("scope", self.scope),
        ];
        let given = fields.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        given.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
    }

    /// Every form in which what nobody may see could come back in the words of a server.
    pub(super) fn secrets(&self) -> Vec<String> {
        let secrets = [self.client_secret, self.assertion, self.refresh_token];
        let forms = secrets.into_iter().flatten().flat_map(|secret| [secret.to_owned(), encoded(secret)]);
        forms.filter(|form| !form.is_empty()).collect()
    }
}

/// `application/x-www-form-urlencoded`: everything but what never means anything is encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `text` without any of `secrets`.
pub(super) fn masked(text: &str, secrets: &[String]) -> String {
    let mut secrets: Vec<&String> = secrets.iter().collect();
    // One may be part of a longer one.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "****"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: Asked<'_> = Asked {
        client_id: "app",
        client_secret: Some("s&c=r t~ü"),
        assertion: None,
        refresh_token: None,
        scope: Some("https://outlook.office365.com/.default"),
    };

    #[test]
    fn each_grant_has_its_form() {
        assert_eq!(
            APP.form(),
            "grant_type=client_credentials&client_id=app&client_secret=s%26c%3Dr+t%7E%C3%BC\
             &scope=https%3A%2F%2Foutlook.office365.com%2F.default"
        );
        let person = Asked { client_secret: None, refresh_token: Some("1//0g"), scope: None, ..APP };
        assert_eq!(person.form(), "grant_type=refresh_token&client_id=app&refresh_token=1%2F%2F0g");
        let signed = Asked { client_secret: None, assertion: Some("a.b.c"), scope: None, ..APP };
        assert_eq!(
            signed.form(),
            "grant_type=client_credentials&client_id=app\
             &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion=a.b.c"
        );
    }

    #[test]
    fn a_server_that_quotes_a_secret_is_not_quoted() {
        let asked = Asked { refresh_token: Some("1//0g"), ..APP };
        for text in
            ["no s&c=r t~ü here", "no s%26c%3Dr+t%7E%C3%BC here", "no 1//0g here", "no 1%2F%2F0g here"]
        {
            assert_eq!(masked(text, &asked.secrets()), "no **** here");
        }
    }
}
