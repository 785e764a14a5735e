//! /etc/aliases (aliases(5)), and the file of the same form that msmtp has.

use super::lines::folded;
use super::{Alias, Line, Plan};
use crate::mail::Mailbox;

/// Adds what a file of aliases says.
pub(super) fn read(path: &str, text: &str, plan: &mut Plan) {
    for (number, line) in folded(text) {
        let Some((name, targets)) = split_name(&line) else {
            plan.lost(&Line::new("alias", "", path, number), "expected a name, a colon and addresses");
            continue;
        };
        let from = Line::new(&format!("alias {name}"), "", path, number);
        if name != "*" && !is_name(&name) {
            plan.lost(&from, "expected a name or an address in front of the colon");
            continue;
        }
        let mut to = Vec::new();
        for target in split(targets) {
            match fault(&target) {
                Some(why) => plan.lost(&from, why),
                None => to.push(target.trim_start_matches('\\').to_owned()),
            }
        }
        // msmtp's word for what postfix and dma call "*".
        let name = if name == "default" { "*".to_owned() } else { name };
        // `root: \root` keeps a copy in the mailbox.
        if to.contains(&name) {
            plan.lost(&from, "a copy for its own mailbox: pillarbox has no mailboxes");
            to.retain(|target| *target != name);
        }
        if !to.is_empty() {
            plan.aliases.retain(|alias| alias.name != name);
            plan.aliases.push(Alias { name, to, from });
        }
    }
}

/// Why mail cannot go there.
fn fault(target: &str) -> Option<&'static str> {
    if target.starts_with('|') {
        return Some("a program that is given the mail: pillarbox sends to a mail server and starts nothing");
    }
    if target.starts_with('/') {
        return Some("a file or folder that the mail is put into: pillarbox has no mailboxes");
    }
    if target.starts_with(":include:") {
        return Some("a list in a file of its own: write its addresses into [aliases]");
    }
    (!is_name(target.trim_start_matches('\\'))).then_some("expected an address or a name")
}

fn is_name(text: &str) -> bool {
    let address = if text.contains('@') { text.to_owned() } else { format!("{text}@example.com") };
    address.parse::<Mailbox>().is_ok()
}

/// The name may be quoted, and hold a colon then.
fn split_name(line: &str) -> Option<(String, &str)> {
    let (name, rest) = match line.strip_prefix('"') {
        Some(quoted) => {
            let (name, rest) = quoted.split_once('"')?;
            (name, rest.trim_start().strip_prefix(':')?)
        }
        None => line.split_once(':')?,
    };
    let name = name.trim();
    (!name.is_empty() && !name.contains(char::is_whitespace)).then(|| (name.to_owned(), rest))
}

/// At commas outside of quotes; the quotes around a whole target go.
fn split(targets: &str) -> Vec<String> {
    let mut split = vec![String::new()];
    let mut is_quoted = false;
    for c in targets.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => split.push(String::new()),
            c => {
                if let Some(last) = split.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    split.iter().map(|target| target.trim().to_owned()).filter(|target| !target.is_empty()).collect()
}
