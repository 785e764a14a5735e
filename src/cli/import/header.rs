//! What the command line of msmtp leaves to the message: `-t`, and a sender that is not given.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use crate::config;
use crate::mail::Mailbox;
use crate::message::{
    Aliases, HEADER_MAX, Header, Identity, Listed, NoEnvelope, Scan, address, parse_address_list,
};
use crate::migrate::Queued;

/// Fills in sender or recipients where only one of them is given; where neither is, the message is read as a dropped one is. A
/// name without a domain gets that of the configuration.
pub(super) fn complete(
    queued: &mut Queued,
    file: &mut File,
    identity: &config::Identity,
) -> Result<(), String> {
    for name in
        queued.from.iter_mut().chain(&mut queued.to).filter(|name| !name.is_empty() && !name.contains('@'))
    {
        let domain = identity.domain.as_deref();
        let domain =
            domain.ok_or_else(|| format!("{name:?} has no domain, and domain of [identity] is not set"))?;
        *name = format!("{name}@{domain}");
    }
    match (&queued.from, queued.to.is_empty()) {
        (None, true) | (Some(_), false) => return Ok(()),
        _ => {}
    }
    let mut bytes = Vec::new();
    let read = file.by_ref().take(HEADER_MAX as u64).read_to_end(&mut bytes).and_then(|_| file.rewind());
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    let header = match Header::scan(&bytes, true) {
        Ok(Scan::Done(header)) => header,
        Ok(_) => return Err("its header does not end".to_owned()),
        Err(refusal) => return Err(refusal.to_string()),
    };
    if queued.from.is_none() {
        queued.from = Some(sender(&header, &bytes)?);
        return Ok(());
    }
    let given: Option<Mailbox> = queued.from.as_deref().and_then(|from| from.parse().ok());
    let domain = identity.domain.as_deref();
    // Whom a name stands for is looked up when it is handed in.
    let aliases = Aliases::none(domain);
    let known = Identity { from: given.as_ref(), domain, aliases: Some(&aliases), to: &[] };
    let addressed = address(&header, &bytes, &known).map_err(|why| match why {
        NoEnvelope::Refused(refusal) => refusal.to_string(),
        NoEnvelope::Unconfigured { setting, why } => format!("{why}: set {setting}"),
    })?;
    if let Some(bad) = addressed.unreadable.first() {
        return Err(format!("line {}: {}: {}", bad.line, bad.field, bad.why));
    }
    queued.to = addressed.envelope.forward_paths().iter().map(|to| to.as_str().to_owned()).collect();
    Ok(())
}

/// The first address of Sender or From.
fn sender(header: &Header, bytes: &[u8]) -> Result<String, String> {
    let fields = ["Sender", "From"].iter().flat_map(|name| header.own().iter().filter(|f| f.is(name, bytes)));
    for field in fields {
        for listed in parse_address_list(field.value(bytes)) {
            if let Listed::Mailbox(mailbox) = listed {
                return Ok(mailbox.as_str().to_owned());
            }
        }
    }
    Err("neither it nor its command line names a sender: hand it in with `pillarbox send --from`".to_owned())
}
