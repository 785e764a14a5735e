//! What the files say, key by key. Every key may be missing; an unknown one is an error.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A value with its place in the file.
pub(super) type At<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default)]
    pub(super) spool: RawSpool,
    #[serde(default)]
    pub(super) pickup: RawPickup,
    #[serde(default)]
    pub(super) folder: BTreeMap<String, Spanned<RawFolder>>,
    #[serde(default)]
    pub(super) identity: RawIdentity,
    #[serde(default)]
    pub(super) user: BTreeMap<String, RawUser>,
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, Spanned<OneOrMore>>,
    #[serde(default)]
    pub(super) smarthost: Vec<RawSmarthost>,
    #[serde(default)]
    pub(super) delivery: RawDelivery,
    #[serde(default)]
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpool {
    pub(super) dir: At<String>,
    pub(super) max_messages: At<u64>,
    pub(super) max_message_size: At<String>,
    pub(super) min_free: At<String>,
    pub(super) keep_sent: At<u64>,
    pub(super) keep_failed: At<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPickup {
    #[serde(rename = "match")]
    pub(super) patterns: At<Vec<String>>,
    pub(super) settle: At<String>,
    pub(super) rescan: At<String>,
    pub(super) unstuff: At<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFolder {
    pub(super) dir: At<String>,
    pub(super) dialect: At<String>,
    #[serde(rename = "match")]
    pub(super) patterns: At<Vec<String>>,
    pub(super) settle: At<String>,
    pub(super) rescan: At<String>,
    pub(super) unstuff: At<bool>,
    pub(super) to: At<OneOrMore>,
    pub(super) from: At<String>,
    pub(super) force_from: At<String>,
    pub(super) outcomes: At<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentity {
    pub(super) hostname: At<String>,
    pub(super) from: At<String>,
    pub(super) force_from: At<String>,
    pub(super) domain: At<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUser {
    pub(super) from: At<String>,
    pub(super) force_from: At<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSmarthost {
    pub(super) name: At<String>,
    pub(super) url: At<String>,
    pub(super) tls: At<String>,
    pub(super) user: At<String>,
    pub(super) password: At<RawPassword>,
    pub(super) token: At<RawPassword>,
    pub(super) oauth: At<RawOAuth>,
    pub(super) auth: At<OneOrMore>,
    pub(super) ca_file: At<String>,
    pub(super) pin: At<OneOrMore>,
    pub(super) client_cert: At<String>,
    pub(super) client_key: At<String>,
    pub(super) tls_warn: At<String>,
    pub(super) timeout: At<String>,
    pub(super) profile: At<String>,
    pub(super) from: At<String>,
    pub(super) rate: At<String>,
    pub(super) daily: At<u32>,
    pub(super) messages_per_session: At<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOAuth {
    pub(super) profile: At<String>,
    pub(super) grant: At<String>,
    pub(super) tenant: At<String>,
    pub(super) client_id: At<String>,
    pub(super) client_secret: At<RawPassword>,
    pub(super) client_cert: At<String>,
    pub(super) client_key: At<String>,
    pub(super) refresh_token: At<RawPassword>,
    pub(super) scope: At<String>,
    pub(super) token_url: At<String>,
    pub(super) ca_file: At<String>,
}

/// A string, or a table with one key that says where the password is.
#[derive(Debug)]
pub(super) enum RawPassword {
    Inline(crate::smtp::Secret),
    Table(RawPasswordTable),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPasswordTable {
    pub(super) file: Option<String>,
    pub(super) env: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) command: Option<OneOrMore>,
}

/// A string, or a list of them.
#[derive(Debug, Clone)]
pub(super) struct OneOrMore {
    pub(super) texts: Vec<String>,
    pub(super) is_list: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDelivery {
    pub(super) retry_interval: At<String>,
    pub(super) hold_line: At<String>,
    pub(super) max_age: At<String>,
    pub(super) max_attempts: At<u32>,
    pub(super) rate: At<String>,
    pub(super) fail_back: At<String>,
    pub(super) keep_open: At<String>,
    pub(super) received: At<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) level: At<String>,
}

impl<'de> Deserialize<'de> for RawPassword {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = RawPassword;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a table with one of `file`, `env`, `credential` and `command`")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawPassword, E> {
                Ok(RawPassword::Inline(crate::smtp::Secret::new(text)))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RawPassword, A::Error> {
                let table = serde::de::value::MapAccessDeserializer::new(map);
                RawPasswordTable::deserialize(table).map(RawPassword::Table)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore { texts: vec![text.to_owned()], is_list: false })
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, sequence: A) -> Result<OneOrMore, A::Error> {
                let texts = Deserialize::deserialize(serde::de::value::SeqAccessDeserializer::new(sequence))?;
                Ok(OneOrMore { texts, is_list: true })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
