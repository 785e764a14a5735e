//! From a file to its envelope: each recipient once and an address, the same each time, and what is refused names a line
//! of the file.

use std::collections::HashSet;

use pillarbox::mail::Mailbox;
use pillarbox::message::{Aliases, Header, Identity, NoEnvelope, Scan, address};

pub(crate) fn run(data: &[u8]) {
    let Ok(Scan::Done(header)) = Header::scan(data, true) else { return };
    let from: Mailbox = "box@example.com".parse().expect("an address");
    let lines = 1 + data.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() as u64;
    let ops = ["root@example.org".to_owned(), "bob".to_owned()];
    let entries = [("root", &ops[..1]), ("ops", &ops[..]), ("*", &ops[..1])];
    let aliases = Aliases::new(entries, Some("example.com"), &[]).expect("aliases");
    for domain in [None, Some("example.com")] {
        for from in [None, Some(&from)] {
            let identity = Identity { from, domain, aliases: domain.map(|_| &aliases), to: &[] };
            let addressed = address(&header, data, &identity);
            assert_eq!(addressed, address(&header, data, &identity));
            match addressed {
                Ok(addressed) => {
                    let to = addressed.envelope.forward_paths();
                    assert!(!to.is_empty());
                    assert_eq!(to.iter().collect::<HashSet<_>>().len(), to.len(), "{to:?}");
                    for mailbox in to.iter().chain(addressed.envelope.reverse_path.mailbox()) {
                        assert_eq!(mailbox.to_string().parse::<Mailbox>().as_ref(), Ok(mailbox));
                    }
                    for unreadable in &addressed.unreadable {
                        assert!((1..=lines).contains(&unreadable.line), "{unreadable} of {lines}");
                        assert!(!unreadable.to_string().contains(char::is_control), "{unreadable}");
                    }
                    assert_eq!(addressed.injected, !header.injected().is_empty());
                }
                Err(NoEnvelope::Refused(refusal)) => {
                    assert!(refusal.line.is_none_or(|line| (1..=lines).contains(&line)), "{refusal}");
                    assert!(!refusal.to_string().contains(char::is_control), "{refusal}");
                }
                Err(NoEnvelope::Unconfigured { setting, why }) => {
                    assert!(domain.is_none() || from.is_none(), "{setting}: {why}");
                    assert!(!why.contains(char::is_control), "{why}");
                }
            }
        }
    }
}
