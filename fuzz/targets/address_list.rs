//! The address list: what comes out as an address is one, and reads back as the same; what does not can be shown.

use pillarbox::mail::Mailbox;
use pillarbox::message::{Listed, parse_address_list};

pub(crate) fn run(data: &[u8]) {
    let mut behind = 0;
    for listed in parse_address_list(data) {
        match listed {
            Listed::Mailbox(mailbox) => {
                let text = mailbox.to_string();
                assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
                assert_eq!(text.parse::<Mailbox>().as_ref(), Ok(&mailbox), "{text:?}");
                for form in [text.clone(), format!("<{text}>"), format!("\"a, b\" <{text}> (c)")] {
                    assert_eq!(
                        parse_address_list(form.as_bytes()),
                        [Listed::Mailbox(mailbox.clone())],
                        "{form:?}"
                    );
                }
            }
            Listed::Bare(name) => {
                let completed = format!("{name}@example.com");
                assert!(completed.parse::<Mailbox>().is_ok(), "{completed:?}");
            }
            Listed::Unreadable { offset, text, why } => {
                assert!(offset >= behind && offset <= data.len(), "{offset} behind {behind}");
                assert!(
                    !text.contains(char::is_control) && !why.contains(char::is_control),
                    "{text:?} {why:?}"
                );
                behind = offset;
            }
        }
    }
}
