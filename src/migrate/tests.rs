//! The rules by which TLS and logins are carried over, in each system's own words.

use super::{Fate, Plan, Security, System, read, render};
use crate::mail::Mailbox;

/// What is read of these files.
fn plan(system: System, files: &[(&str, &str)]) -> Result<Plan, String> {
    let read_one =
        |path: &str| Ok(files.iter().find(|(p, _)| *p == path).map(|(_, text)| (*text).to_owned()));
    read(system, Some("/home/box"), &read_one)
}

fn msmtp(lines: &str) -> Plan {
    plan(System::Msmtp, &[("/etc/msmtprc", &format!("account default\nhost smtp.example.com\n{lines}"))])
        .unwrap()
}

fn postfix(lines: &str) -> Plan {
    let maps = ("/etc/postfix/sasl", "[smtp.example.com]:587 user:geheim\n");
    let main = format!("mydestination =\nrelayhost = [smtp.example.com]:587\n{lines}");
    plan(System::Postfix, &[("/etc/postfix/main.cf", &main), maps]).unwrap()
}

fn remote(options: &str) -> Plan {
    let remotes = format!("smtp.example.com smtp {options}\n");
    plan(System::Nullmailer, &[("/etc/nullmailer/remotes", &remotes)]).unwrap()
}

fn dma(lines: &str) -> Plan {
    let conf = format!("SMARTHOST smtp.example.com\nAUTHPATH /auth\nNULLCLIENT\n{lines}");
    let auth = ("/auth", "user|smtp.example.com:geheim\n");
    plan(System::Dma, &[("/etc/dma/dma.conf", &conf), auth]).unwrap()
}

/// The security of the one host, and whether something is said of it.
fn outcome(plan: &Plan) -> (Security, bool) {
    let [host] = &plan.hosts[..] else { panic!("{:?}", plan.hosts) };
    let about = &host.security.1.place;
    (host.security.0, plan.notes.iter().any(|n| n.fate == Fate::Changed && n.place == *about))
}

#[test]
fn what_went_in_clear_by_somebodys_wish_stays_so_and_is_said_and_no_password_does() {
    let sasl = "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = hash:/etc/postfix/sasl\n";
    let in_clear = format!("{sasl}smtp_sasl_security_options = noanonymous\n");
    let may = format!("{sasl}smtp_tls_security_level = may\n");
    let rows = [
        (msmtp("tls off\n"), Security::None, true),
        (msmtp(""), Security::None, true),
        (msmtp("tls on\n"), Security::StartTls, false),
        (msmtp("tls on\ntls_starttls off\n"), Security::Implicit, false),
        // Without TLS msmtp chooses what does not show the password.
        (msmtp("tls off\nauth on\nuser u\npassword geheim\n"), Security::None, true),
        (msmtp("tls off\nauth plain\nuser u\npassword geheim\n"), Security::StartTls, true),
        (msmtp("tls off\nauth xoauth2\nuser u\npasswordeval x\n"), Security::StartTls, true),
        (postfix(""), Security::None, true),
        (postfix("smtp_use_tls = yes\n"), Security::Offered, false),
        (postfix("smtp_tls_security_level = verify\n"), Security::StartTls, false),
        (postfix("smtp_tls_security_level = encrypt\n"), Security::StartTls, true),
        (
            postfix("smtp_tls_wrappermode = yes\nsmtp_tls_security_level = verify\n"),
            Security::Implicit,
            false,
        ),
        (postfix(sasl), Security::None, true),
        (postfix(&in_clear), Security::StartTls, true),
        (postfix(&may), Security::StartTls, true),
        (remote(""), Security::None, true),
        (remote("user=u pass=geheim"), Security::StartTls, true),
        (remote("tls user=u pass=geheim"), Security::Implicit, false),
        (remote("starttls insecure"), Security::StartTls, false),
        (dma(""), Security::None, true),
        (dma("INSECURE\n"), Security::StartTls, true),
        (dma("SECURETRANSFER\n"), Security::Implicit, true),
        (dma("SECURETRANSFER\nSTARTTLS\nOPPORTUNISTIC_TLS\n"), Security::StartTls, true),
    ];
    for (n, (plan, security, said)) in rows.iter().enumerate() {
        assert_eq!(outcome(plan), (*security, *said), "row {n}: {plan:#?}");
    }
}

#[test]
fn a_server_on_this_host_needs_no_tls() {
    let text = "account default\nhost localhost\nauth plain\nuser u\npassword geheim\n";
    let plan = plan(System::Msmtp, &[("/etc/msmtprc", text)]).unwrap();
    assert_eq!(outcome(&plan), (Security::None, false));
}

#[test]
fn an_account_has_what_those_have_that_it_is_made_of_and_later_lines_count() {
    let text = "defaults\nport 587\ntls on\n\naccount a\nhost a.example.com\nuser a\n\naccount b : a\nuser b\nport 26\n\
        defaults\naccount c\nhost c.example.com\n\naccount default : c, b\ndomain x.example.com\n";
    let plan = plan(System::Msmtp, &[("/etc/msmtprc", text)]).unwrap();
    let host = &plan.hosts[0];
    assert_eq!(
        (host.name.as_str(), host.port, host.security.0),
        ("a.example.com", Some(26), Security::StartTls)
    );
    assert_eq!(plan.settings.len(), 1);
}

#[test]
fn the_files_of_the_user_stand_above_those_of_the_system() {
    let files = [
        ("/etc/msmtprc", "account default\nhost old.example.com\n"),
        (
            "/home/box/.config/msmtp/config",
            "account default\nhost new.example.com\ntls_trust_file ~/ca.pem\ntls on\n",
        ),
    ];
    let plan = plan(System::Msmtp, &files).unwrap();
    assert_eq!(plan.hosts[0].name, "new.example.com");
    assert_eq!(plan.hosts[0].settings[0].value, "/home/box/ca.pem");
}

#[test]
fn a_relay_is_found_in_each_of_its_forms() {
    let rows = [
        ("[smtp.example.com]:587", "smtp://smtp.example.com:587"),
        ("[smtp.example.com]", "smtp://smtp.example.com:25"),
        ("smtp.example.com:submission", "smtp://smtp.example.com:587"),
        ("[ipv6:2001:db8::1]:26", "smtp://[2001:db8::1]:26"),
        ("[192.0.2.1]", "smtp://192.0.2.1:25"),
    ];
    for (relay, url) in rows {
        let main = format!("relayhost = {relay}\nsmtp_tls_security_level = verify\n");
        let plan = plan(System::Postfix, &[("/etc/postfix/main.cf", &main)]).unwrap();
        let config = render(&plan, System::Postfix, "/spool", "/etc/pillarbox").config;
        assert!(config.contains(&format!("url = \"{url}\"\n")), "{relay}: {config}");
    }
}

/// A name of a file that ends the line, a quote, a bracket: nothing gets out of its string or its comment.
#[test]
fn no_value_becomes_a_line_of_its_own() {
    let text = "account default\nhost smtp.example.com\ntls on\nuser a\"b\\c\u{7f}\nauth on\n\
        passwordeval echo \"x\" # y\ntls_trust_file /a\"\u{1}\n[spool]\n";
    let plan = plan(System::Msmtp, &[("/etc/msmtprc", text)]).unwrap();
    let config = render(&plan, System::Msmtp, "/sp\"ool", "/etc").config;
    let table: toml::Table = config.parse().unwrap();
    let host = &table["smarthost"][0];
    assert_eq!(host["user"].as_str(), Some("a\"b\\c\u{7f}"));
    assert_eq!(host["password"]["command"].as_str(), Some("echo \"x\" # y"));
    assert_eq!(host["ca_file"].as_str(), Some("/a\"\u{1}"));
    assert_eq!(table["spool"]["dir"].as_str(), Some("/sp\"ool"));
}

#[test]
fn addresses_that_are_written_are_addresses() {
    let plan = msmtp("from box at example.com\n");
    assert!(plan.settings.is_empty());
    assert!(plan.notes.iter().any(|n| n.what == "from" && n.why.starts_with("expected an address")));
    let plan = msmtp("from box@example.com\n");
    assert!(plan.settings[0].1.value.parse::<Mailbox>().is_ok());
}

#[test]
fn a_sender_that_is_made_of_user_and_host_is_forced_where_it_was() {
    let force = |plan: &Plan| {
        let of = |key| plan.settings.iter().find(|(_, s)| s.key == key).map(|(_, s)| s.value.clone());
        (of("from").unwrap_or_default(), of("force_from").unwrap_or_default())
    };
    let rows = [
        (msmtp("from %U@%H\n"), "{user}@{hostname}", ""),
        (
            msmtp("from %U@%C.example.com\nallow_from_override off\n"),
            "{user}@{hostname}.example.com",
            "envelope",
        ),
        (msmtp("from a@b.org\nallow_from_override off\nset_from_header on\n"), "a@b.org", "both"),
        (msmtp("from a@b.org\nset_from_header\n"), "a@b.org", "header"),
        (msmtp("from %X@b.org\nset_from_header\n"), "", ""),
        (dma("MASQUERADE john@\n"), "john@{hostname}", "envelope"),
        (dma("MASQUERADE percolator.example.com\n"), "{user}@percolator.example.com", "envelope"),
        (dma("MASQUERADE a b\n"), "", ""),
    ];
    for (plan, from, forced) in rows {
        assert_eq!(force(&plan), (from.to_owned(), forced.to_owned()), "{plan:?}");
    }
}
