//! `[smarthost.oauth]`: where the tokens of a login come from, and by what right.

use std::path::PathBuf;

use toml::Spanned;

use super::login::check_password;
use super::smarthost::is_here;
use super::{at, text};
use crate::config::error::{ConfigError, Source};
use crate::config::raw::{At, RawOAuth};
use crate::config::{OAuth, OAuthClient, OAuthGrant};
use crate::net::{ClientCertificate, HttpUrl};

/// Endpoint and scopes of a provider. `TENANT` stands for the tenant.
struct Profile {
    name: &'static str,
    token_url: &'static str,
    /// Scope by grant; `None`: that grant is none of this provider's.
    client_credentials: Option<&'static str>,
    refresh_token: &'static str,
}

const PROFILES: [Profile; 2] = [
    Profile {
        name: "microsoft365",
        token_url: "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token",
        client_credentials: Some("https://outlook.office365.com/.default"),
        refresh_token: "https://outlook.office.com/SMTP.Send offline_access",
    },
    Profile {
        name: "gmail",
        token_url: "https://oauth2.googleapis.com/token",
        client_credentials: None,
        refresh_token: "https://mail.google.com/",
    },
];

/// Tenants that stand for many: an application of its own has one (AADSTS53003 and others come of these).
const NO_ONE_TENANT: [&str; 3] = ["common", "organizations", "consumers"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GrantName {
    ClientCredentials,
    RefreshToken,
}

/// `of_host` is the profile of the smarthost, which stands in where the table has none.
pub(super) fn check_oauth(
    source: &Source,
    table: &Spanned<RawOAuth>,
    of_host: &At<String>,
) -> Result<OAuth, ConfigError> {
    let raw = table.get_ref();
    let optional = |value: &At<String>| value.as_ref().map(|v| at(source, v, |t| text(t))).transpose();
    let missing = |what: &str| source.error(table.span(), format!("[smarthost.oauth] has no {what}"));
    let said = raw.profile.as_ref().or(of_host.as_ref().filter(|_| raw.token_url.is_none()));
    let profile = said.map(|name| at(source, name, |t| profile(t))).transpose()?;
    let grant = check_grant(source, raw, profile)?;
    let token_url = check_token_url(source, table, profile, grant)?;
    let scope = match (optional(&raw.scope)?, profile, grant) {
        (Some(scope), _, _) => Some(scope),
        (None, None, _) => None,
        (None, Some(profile), GrantName::ClientCredentials) => profile.client_credentials.map(str::to_owned),
        (None, Some(profile), GrantName::RefreshToken) => Some(profile.refresh_token.to_owned()),
    };
    let client = check_client(source, raw)?;
    Ok(OAuth {
        token_url,
        client_id: optional(&raw.client_id)?
            .ok_or_else(|| missing("client_id: expected the application's"))?,
        grant: match (grant, &raw.refresh_token) {
            (GrantName::RefreshToken, None) => return Err(missing("refresh_token, which its grant needs")),
            (GrantName::RefreshToken, Some(token)) => {
                OAuthGrant::RefreshToken(check_password(source, token)?)
            }
            (GrantName::ClientCredentials, Some(token)) => {
                let message = "refresh_token is set, and grant = \"client_credentials\" has none: expected one of the two";
                return Err(source.error(token.span(), message));
            }
            (GrantName::ClientCredentials, None) if matches!(client, OAuthClient::Public) => {
                return Err(missing(
                    "client_secret or client_cert: grant = \"client_credentials\" needs one",
                ));
            }
            (GrantName::ClientCredentials, None) => OAuthGrant::ClientCredentials,
        },
        client,
        scope,
        ca_file: optional(&raw.ca_file)?.map(PathBuf::from),
    })
}

fn profile(name: &str) -> Result<&'static Profile, String> {
    let known = PROFILES.iter().find(|profile| profile.name == name);
    let names = PROFILES.map(|profile| format!("{:?}", profile.name)).join(" or ");
    known.ok_or_else(|| format!("expected {names}, or token_url in its place, found {name:?}"))
}

fn check_grant(source: &Source, raw: &RawOAuth, profile: Option<&Profile>) -> Result<GrantName, ConfigError> {
    let has_own = profile.is_none_or(|profile| profile.client_credentials.is_some());
    let Some(said) = &raw.grant else {
        let is_persons = raw.refresh_token.is_some() || !has_own;
        return Ok(if is_persons { GrantName::RefreshToken } else { GrantName::ClientCredentials });
    };
    at(source, said, |grant| match grant.as_str() {
        "client_credentials" if has_own => Ok(GrantName::ClientCredentials),
        "client_credentials" => {
            Err("this profile has no mail for an application of its own: expected \"refresh_token\"".into())
        }
        "refresh_token" => Ok(GrantName::RefreshToken),
        other => Err(format!("expected \"client_credentials\" or \"refresh_token\", found {other:?}")),
    })
}

fn check_token_url(
    source: &Source,
    table: &Spanned<RawOAuth>,
    profile: Option<&Profile>,
    grant: GrantName,
) -> Result<HttpUrl, ConfigError> {
    let raw = table.get_ref();
    let wants_tenant = profile.is_some_and(|profile| profile.token_url.contains("TENANT"));
    if let Some(url) = &raw.token_url {
        if let Some(tenant) = &raw.tenant {
            return Err(source.error(tenant.span(), "expected tenant or token_url, found both"));
        }
        return at(source, url, |text| {
            let url: HttpUrl = text.parse()?;
            match url.endpoint.implicit || is_here(&url.endpoint.host) {
                true => Ok(url),
                false => {
                    Err("without TLS everybody on the way would see the secrets: expected https://".into())
                }
            }
        });
    }
    let Some(profile) = profile else {
        return Err(source.error(
            table.span(),
            "[smarthost.oauth] has neither profile nor token_url: expected profile = \"microsoft365\" or \"gmail\", or the \
             server's token_url",
        ));
    };
    let tenant = match &raw.tenant {
        Some(tenant) if !wants_tenant => {
            return Err(source.error(tenant.span(), "this profile has no tenants: expected none"));
        }
        Some(tenant) => at(source, tenant, |text| check_tenant(text, grant))?,
        None if wants_tenant => {
            let message =
                "[smarthost.oauth] has no tenant: expected the directory's ID or one of its domains";
            return Err(source.error(table.span(), message));
        }
        None => String::new(),
    };
    let url = profile.token_url.replace("TENANT", &tenant);
    url.parse().map_err(|message: String| source.error(table.span(), message))
}

fn check_tenant(tenant: &str, grant: GrantName) -> Result<String, String> {
    let is_tenant = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    if tenant.is_empty() || !tenant.chars().all(is_tenant) {
        return Err(format!("expected the directory's ID or one of its domains, found {tenant:?}"));
    }
    if grant == GrantName::ClientCredentials && NO_ONE_TENANT.contains(&tenant) {
        return Err(format!("an application asks one tenant: expected its ID or a domain, found {tenant:?}"));
    }
    Ok(tenant.to_owned())
}

fn check_client(source: &Source, raw: &RawOAuth) -> Result<OAuthClient, ConfigError> {
    let path = |value: &Spanned<String>| at(source, value, |t| text(t).map(PathBuf::from));
    match (&raw.client_secret, &raw.client_cert, &raw.client_key) {
        (_, None, Some(key)) => Err(source.error(key.span(), "client_key is set but client_cert is not")),
        (Some(_), Some(certificate), _) => {
            Err(source.error(certificate.span(), "expected client_secret or client_cert, found both"))
        }
        (Some(secret), None, None) => Ok(OAuthClient::Secret(check_password(source, secret)?)),
        (None, Some(certificate), key) => Ok(OAuthClient::Certificate(ClientCertificate {
            certificate: path(certificate)?,
            key: path(key.as_ref().unwrap_or(certificate))?,
        })),
        (None, None, None) => Ok(OAuthClient::Public),
    }
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
