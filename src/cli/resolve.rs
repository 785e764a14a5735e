//! `pillarbox resolve`: whom a message would go to, and who would be its sender.

use serde::Serialize;

use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::config::{self, Config};
use crate::fs::user_name;
use crate::mail::{ForceFrom, Mailbox, Origin};
use crate::message::{Expanded, Step, Target};
use crate::outgoing::Chosen;
use crate::service::outgoing_options;

/// Show whom an address or name stands for, and the sender of what a user sends
///
/// Reads the configuration and nothing else: nothing is sent, and no spool is needed. Exits with 65 if one is no address, and
/// with 78 if a name has no alias and no domain.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// As in To: an address, or a name such as root
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,

    /// The login name of the one who sends [default: whoever asks]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// The same facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Resolved {
    /// The way there.
    steps: Vec<Told>,
    /// Each once.
    to: Vec<String>,
    user: String,
    /// Stands in where a message names no sender, or is forced.
    from: Option<String>,
    force_from: Option<ForceFrom>,
    /// Smarthosts that are told another sender.
    smarthosts: Vec<Smarthost>,
}

/// One step, and how deep it is.
#[derive(Debug, Serialize)]
struct Told {
    depth: usize,
    recipient: String,
    /// The key of the alias that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    /// Told before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Smarthost {
    name: String,
    from: String,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let config = config::load(&args.config.overrides())
        .map_err(|error| Failure::new(exit::CONFIG, error.to_string()))?;
    let read = |text: &String| {
        Target::parse(text).map_err(|why| {
            Failure::new(exit::DATAERR, format!("{text:?} is no recipient: {why}"))
                .hint("give each as an argument of its own: an address, or a name such as root")
        })
    };
    let targets = args.addresses.iter().map(read).collect::<Result<Vec<Target>, Failure>>()?;
    let user = args.user.clone().unwrap_or_else(|| user_name(rustix::process::geteuid().as_raw()));
    let resolved = resolve(&config, &targets, user)?;
    match args.json {
        true => print_json(&resolved)?,
        false => print(&text(&resolved, &config))?,
    };
    match resolved.steps.iter().find_map(|told| Some((&told.recipient, told.problem.as_ref()?))) {
        None => Ok(exit::OK),
        Some((name, why)) => Err(Failure::new(exit::CONFIG, format!("{name:?} {why}: mail to it waits"))
            .hint("set domain in [identity], or give it an alias in [aliases]")),
    }
}

fn resolve(config: &Config, targets: &[Target], user: String) -> Result<Resolved, Failure> {
    let options = outgoing_options(config);
    let sender = options.sender(&Origin::default(), || Ok(user.clone()));
    let Chosen { author, force } = sender
        .map_err(|error| error.to_string())
        .and_then(|chosen| chosen.map_err(|why| why.to_string()))
        .map_err(|why| Failure::new(exit::CONFIG, why))?;
    let (mut steps, mut to, mut expanded) = (Vec::new(), Vec::<Mailbox>::new(), Expanded::default());
    for target in targets {
        config.aliases.expand(target, &mut expanded, &mut |depth, step| {
            if let Step::Address { mailbox, .. } = &step
                && !to.contains(mailbox)
            {
                to.push(mailbox.clone());
            }
            steps.push(told(depth, &step));
        });
    }
    let told_another = |host: &config::Smarthost| {
        Some(Smarthost { name: host.name.clone(), from: host.from.as_ref()?.to_string() })
    };
    Ok(Resolved {
        steps,
        to: to.iter().map(Mailbox::to_string).collect(),
        user,
        from: author.map(|author| author.to_string()),
        force_from: force,
        smarthosts: config.smarthosts.iter().filter_map(told_another).collect(),
    })
}

fn told(depth: usize, step: &Step<'_>) -> Told {
    let new = |recipient: &Target| Told {
        depth,
        recipient: recipient.to_string(),
        alias: None,
        again: false,
        address: None,
        problem: None,
    };
    match step {
        Step::Alias { recipient, key } => Told { alias: Some((*key).to_owned()), ..new(recipient) },
        Step::Again { recipient, key } => {
            Told { alias: Some((*key).to_owned()), again: true, ..new(recipient) }
        }
        Step::Address { recipient, mailbox } => Told { address: Some(mailbox.to_string()), ..new(recipient) },
        Step::NoAddress { recipient, why } => Told { problem: Some(why.clone()), ..new(recipient) },
    }
}

fn text(resolved: &Resolved, config: &Config) -> String {
    let step = |told: &Told| {
        let behind = match told {
            Told { alias: Some(key), again: true, .. } => format!("  (alias {key}, as above)"),
            Told { alias: Some(key), .. } => format!("  (alias {key})"),
            Told { address: Some(address), recipient, .. } if address != recipient => {
                format!(" -> {address}  (domain in [identity])")
            }
            Told { problem: Some(why), .. } => format!("  ({why})"),
            _ => String::new(),
        };
        format!("{}{}{behind}", "  ".repeat(told.depth), told.recipient)
    };
    let mut lines: Vec<String> = resolved.steps.iter().map(step).collect();
    lines.push(String::new());
    lines.extend(resolved.to.iter().map(|to| format!("to      {to}")));
    lines.push(format!("from    {}", sender(resolved, config)));
    for Smarthost { name, from } in &resolved.smarthosts {
        lines.push(format!("        {name} is told {from} (from in [[smarthost]])"));
    }
    lines.join("\n").replace(|c: char| c.is_control() && c != '\n', "\u{fffd}") + "\n"
}

fn sender(resolved: &Resolved, config: &Config) -> String {
    let user = &resolved.user;
    let place = match resolved.force_from {
        Some(ForceFrom::Envelope) => "MAIL FROM",
        Some(ForceFrom::Header) => "the field From",
        Some(ForceFrom::Both) => "MAIL FROM and the field From",
        None => "",
    };
    match (&resolved.from, resolved.force_from, &config.identity.domain) {
        (Some(from), Some(_), _) => format!("{from} in {place}, whatever {user} writes"),
        (Some(from), None, _) => format!("what {user} writes, else {from}"),
        (None, _, Some(domain)) => format!("what {user} writes; a name without a domain gets {domain}"),
        (None, _, None) => {
            format!("what {user} writes; a message without a sender waits (from in [identity] is not set)")
        }
    }
}
