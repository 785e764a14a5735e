//! `[identity]`, `[user.NAME]` and `[aliases]`: who we are, who sends, and whom names stand for.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::{Layers, at};
use crate::config::error::{ConfigError, Source};
use crate::config::raw::{At, OneOrMore, RawUser};
use crate::config::{Identity, UserSender};
use crate::mail::ForceFrom;
use crate::message::{Aliases, Places, Template};

/// Whom the templates are tried with.
const PROBE: &str = "user";

pub(super) fn check_identity(layers: &Layers) -> Result<Identity, ConfigError> {
    let node = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let hostname = layers.text(|r| &r.identity.hostname, domain_name)?.unwrap_or_else(node);
    let mailname = || std::fs::read_to_string("/etc/mailname").ok().and_then(|t| domain_name(t.trim()).ok());
    let from_host = || Some(node()).filter(|name| name.contains('.'));
    let domain = layers.text(|r| &r.identity.domain, domain_name)?.or_else(mailname).or_else(from_host);
    let places = Places { user: PROBE, hostname: &hostname, domain: domain.as_deref() };
    let from = layers.text(|r| &r.identity.from, |text| template(text, &places))?;
    let force_from = |text: &str| match from {
        Some(_) => force_from(text),
        None => Err("force_from needs an address to put there: set from in [identity] too".into()),
    };
    let force_from = layers.text(|r| &r.identity.force_from, force_from)?;
    Ok(Identity { hostname, from, force_from, domain })
}

/// `[user.NAME]`; of each key the highest layer that has it.
pub(super) fn check_users(
    layers: &Layers,
    identity: &Identity,
) -> Result<BTreeMap<String, UserSender>, ConfigError> {
    let names: BTreeSet<&String> = layers.layers.iter().flat_map(|(_, raw)| raw.user.keys()).collect();
    let user = |name: &String| {
        let Identity { hostname, domain, .. } = identity;
        let places = Places { user: name, hostname, domain: domain.as_deref() };
        let from = of_user(layers, name, |user| &user.from, |text| template(text, &places))?;
        let force = |text: &str| match from.as_ref().or(identity.from.as_ref()) {
            Some(_) => force_from(text),
            None => Err("force_from needs an address to put there: set from beside it".into()),
        };
        let force_from = of_user(layers, name, |user| &user.force_from, force)?;
        Ok((name.clone(), UserSender { from, force_from }))
    };
    names.into_iter().map(user).collect()
}

fn of_user<V>(
    layers: &Layers,
    name: &str,
    key: impl Fn(&RawUser) -> &At<String>,
    parse: impl Fn(&str) -> Result<V, String>,
) -> Result<Option<V>, ConfigError> {
    let found = layers.layers.iter().rev();
    let found = found.filter_map(|(source, raw)| Some((source, key(raw.user.get(name)?).as_ref()?))).next();
    found.map(|(source, value)| at(source, value, |text| parse(text))).transpose()
}

/// A sender, tried with a user, so that what is wrong with it shows here.
pub(super) fn template(text: &str, places: &Places<'_>) -> Result<Template, String> {
    let template: Template = text.parse()?;
    template.fill(places)?;
    Ok(template)
}

/// `force_from`.
pub(super) fn force_from(text: &str) -> Result<ForceFrom, String> {
    match text {
        "envelope" => Ok(ForceFrom::Envelope),
        "header" => Ok(ForceFrom::Header),
        "both" => Ok(ForceFrom::Both),
        _ => Err(format!("expected \"envelope\", \"header\" or \"both\", found {text:?}")),
    }
}

/// A key of a higher layer stands in place of the same key below, whichever way its case is written.
pub(super) fn check_aliases(layers: &Layers, identity: &Identity) -> Result<Aliases, ConfigError> {
    let mut entries: BTreeMap<&str, (&Source, &Spanned<OneOrMore>)> = BTreeMap::new();
    for (source, raw) in &layers.layers {
        let is_said_here =
            |key: &str| raw.aliases.keys().any(|here| here.to_lowercase() == key.to_lowercase());
        entries.retain(|key, _| !is_said_here(key));
        entries.extend(raw.aliases.iter().map(|(key, targets)| (key.as_str(), (source, targets))));
    }
    let lists = entries.iter().map(|(key, (_, targets))| (*key, targets.get_ref().texts.as_slice()));
    let aliases = Aliases::new(lists, identity.domain.as_deref(), &[&identity.hostname]);
    aliases.map_err(|error| match entries.get(error.key.as_str()) {
        Some((source, targets)) => source.error(targets.span(), error.message),
        None => ConfigError::new("[aliases]", error.message),
    })
}

fn domain_name(text: &str) -> Result<String, String> {
    match format!("a@{text}").parse::<crate::mail::Mailbox>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("expected a host or domain name, found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::load::{parse_text, parse_texts};
    use crate::config::Config;
    use crate::mail::ForceFrom;
    use crate::message::{Expanded, Step, Target};

    const IDENTITY: &str = "[identity]\nhostname = \"box\"\ndomain = \"x.org\"\n";

    fn error(text: &str) -> String {
        parse_text(&format!("{IDENTITY}{text}")).unwrap_err().to_string()
    }

    fn expanded(config: &Config, name: &str) -> String {
        let mut out = Vec::new();
        let target = Target::parse(name).unwrap();
        config.aliases.expand(&target, &mut Expanded::default(), &mut |_, step| {
            if let Step::Address { mailbox, .. } = step {
                out.push(mailbox.to_string());
            }
        });
        out.join(" ")
    }

    #[test]
    fn aliases_and_senders_are_read() {
        let text = "from = \"Box <{user}@{hostname}.x.org>\"\nforce_from = \"envelope\"\n\
            [user.www-data]\nfrom = \"web@x.org\"\nforce_from = \"both\"\n[user.ann]\nforce_from = \"header\"\n\
            [aliases]\nroot = \"ops\"\nops = [\"a@e.f\", \"b@e.f\"]\n\"*\" = \"any@e.f\"\n\"old@e.f\" = \"new@e.f\"\n";
        let config = parse_text(&format!("{IDENTITY}{text}")).unwrap();
        assert_eq!(config.identity.force_from, Some(ForceFrom::Envelope));
        assert!(config.identity.from.as_ref().unwrap().names_user());
        assert_eq!(config.users["www-data"].force_from, Some(ForceFrom::Both));
        assert_eq!((config.users["ann"].from.as_ref(), config.users.len()), (None, 2));
        for (name, want) in [("Root", "a@e.f b@e.f"), ("who@box", "any@e.f"), ("old@e.f", "new@e.f")] {
            assert_eq!(expanded(&config, name), want, "{name}");
        }
    }

    #[test]
    fn a_drop_in_stands_above_the_file_key_by_key() {
        let file =
            format!("{IDENTITY}[aliases]\nroot = \"a@e.f\"\nops = \"b@e.f\"\n[user.ann]\nfrom = \"a@e.f\"\n");
        let drop_in = "[aliases]\nROOT = \"c@e.f\"\n[user.ann]\nforce_from = \"both\"\n";
        let config = parse_texts(&[&file, drop_in]).unwrap();
        assert_eq!(expanded(&config, "root ").as_str(), "c@e.f");
        assert_eq!(expanded(&config, "ops").as_str(), "b@e.f");
        assert!(config.users["ann"].from.is_some());
        assert_eq!(config.users["ann"].force_from, Some(ForceFrom::Both));
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_its_line() {
        let rows = [
            ("from = \"{name}@x.org\"\n", "line 4: expected {user}, {hostname} or {domain}, found {name}"),
            ("from = \"{user}\"\n", "line 4: expected an address, found \"user\""),
            ("force_from = \"both\"\n", "line 4: force_from needs an address to put there: set from in"),
            (
                "from = \"a@x.org\"\nforce_from = \"all\"\n",
                "line 5: expected \"envelope\", \"header\" or \"both\"",
            ),
            (
                "[user.ann]\nforce_from = \"both\"\n",
                "line 5: force_from needs an address to put there: set from beside",
            ),
            ("[user.ann]\nfrom = \"ann\"\n", "line 5: expected an address, found \"ann\""),
            ("[user.ann]\nto = \"ann\"\n", "line 5: unknown field `to`"),
            (
                "[aliases]\na = \"b@e.f\"\nb = \"c\"\nc = \"b\"\n",
                "line 6: the aliases go round in a circle: b -> c -> b; take",
            ),
            ("[aliases]\na = [\"b@e.f\", \"c d\"]\n", "line 5: the alias \"a\" leads to \"c d\": "),
            ("[aliases]\na = []\n", "line 5: the alias \"a\" leads to nobody"),
            ("[aliases]\na = 5\n", "line 5: "),
        ];
        for (text, want) in rows {
            let error = error(text);
            assert!(error.contains(want), "{error}");
        }
    }
}
