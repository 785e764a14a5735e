//! N9: no secret in a log, an error, a status, a record or a process list.

use std::fs;

use crate::oauth;
use crate::support::issuer::{Issuer, Verdict};
use crate::support::sasl::decoded;
use crate::support::server::{Answer, Asked, Options, Server, base64};
use crate::support::stage::{Stage, letter, plain};

const USER: &str = "box@example.com";
const PASSWORD: &str = "Sesam-öffne-dich-4711";

/// Every form in which the password is on the wire or in a file.
fn forms() -> Vec<String> {
    vec![PASSWORD.to_owned(), base64(PASSWORD), base64(&format!("\0{USER}\0{PASSWORD}"))]
}

fn holds_no_secret(what: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{what} shows {form}:\n{text}");
    }
}

/// Says what it heard, as some servers do, and refuses.
fn repeats_and_refuses(asked: &Asked<'_>) -> Answer {
    let is_quoted = forms().iter().any(|form| asked.line.contains(form.as_str()));
    match asked.line {
        line if is_quoted => Answer::Say(format!(
            "535-5.7.8 {line} is wrong\r\n535 5.7.8 so is {PASSWORD}, {}",
            base64(PASSWORD)
        )),
        _ => Answer::Usual,
    }
}

fn shows_nothing(offers: &'static str, password: &str, environment: Option<(&str, &str)>) {
    let options = Options { offers: vec![offers], login: Some((USER, "another")), ..Options::default() };
    let server = Server::with(options, repeats_and_refuses);
    let login = format!("user = {USER:?}\npassword = {password}\n");
    let stage = Stage::new(&(plain(server.port()) + &login), "");
    fs::write(stage.dir().join("password"), format!("{PASSWORD}\n")).unwrap();
    let text = fs::read_to_string(stage.config()).unwrap();
    fs::write(stage.config(), text + "[log]\nlevel = \"trace\"\n").unwrap();

    let mut command = stage.command(&["run"]);
    command.envs(environment);
    let service = stage.start(command);
    stage.drop_in("1.eml", letter(1, &["ops@example.com"]));
    service.wait_log("WARN smarthost-unusable logging in 535 5.7.8 hint=");
    server.wait_sessions(3);
    // The password did go out, so there was something to show.
    let heard = server.heard();
    assert!(heard.iter().any(|line| forms().iter().any(|form| line.contains(form.as_str()))), "{heard:#?}");

    holds_no_secret("the log", &service.log());
    assert!(service.log().contains("535 5.7.8 "), "{}", service.log());
    let cmdline = fs::read(format!("/proc/{}/cmdline", service.id())).unwrap();
    holds_no_secret("the process list", &String::from_utf8_lossy(&cmdline));
    for arguments in [&["status"][..], &["status", "--json"], &["list"], &["list", "--json"]] {
        let ran = stage.pillarbox(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        holds_no_secret(&arguments.join(" "), &(ran.stdout + &ran.stderr));
    }
    assert!(stage.status()["sender"]["cause"].as_str().unwrap().contains("****"));
    let lock = fs::read_to_string(stage.spool().join("lock")).unwrap();
    holds_no_secret("the lock", &lock);
    for name in stage.names("meta") {
        holds_no_secret(&name, &stage.read("meta", &name));
    }
    assert_eq!(service.stop(), 0);
}

#[test]
fn n9_no_secret_is_ever_shown_of_a_login_by_plain() {
    shows_nothing("AUTH PLAIN", "{ file = \"password\" }", None);
}

#[test]
fn n9_no_secret_is_ever_shown_of_a_login_by_login() {
    shows_nothing(
        "AUTH LOGIN",
        "{ env = \"PILLARBOX_TEST_PASSWORD\" }",
        Some(("PILLARBOX_TEST_PASSWORD", PASSWORD)),
    );
}

#[test]
fn n9_no_secret_is_ever_shown_of_a_password_in_the_configuration() {
    shows_nothing("AUTH PLAIN LOGIN", &format!("{PASSWORD:?}"), None);
}

#[test]
fn n9_no_error_of_the_configuration_shows_a_secret() {
    let p = PASSWORD;
    let mistakes = [
        format!("user = \"box\"\npassword = \"{p}\"\npassword = \"{p}\"\n"),
        format!("user = \"box\"\npassword = \"{p}\n"),
        format!("user = \"box\"\npassword = {p}\n"),
        format!("user = \"box\"\npassword = '''{p}\n"),
        format!("user = \"box\"\npassword = [\"{p}\"]\n"),
        format!("user = \"box\"\npassword = {{ text = \"{p}\" }}\n"),
        format!("user = \"box\"\npassword = {{ file = \"a\", value = \"{p}\" }}\n"),
        format!("user = \"box\"\npasswort = \"{p}\"\n"),
        format!("user = \"box\"\nPassword = \"{p}\"\n"),
        format!("user = \"box\"\npass = \"{p}\"\n"),
        format!("password = \"{p}\"\n"),
        format!("user = \"box\"\ntls = \"auto\"\npassword = \"{p}\"\n"),
        format!("user = \"box\" password = \"{p}\"\n"),
        format!("user = \"box\"\npassword : \"{p}\"\n"),
        format!("user = \"box\"\npassword \"{p}\"\n"),
        format!("user = \"box\", password = \"{p}\"\n"),
        format!("user = \"box\"\npassword = \"\"\"\n{p}\n\"\"\"\ntls = 5\n"),
        format!("user = \"box\"\npassword = \"\"\"\n{p}\\q\n\"\"\"\n"),
        format!("user = \"box\"\npassword = \"{p}\\q\"\n"),
        format!("login = \"box:{p}\"\n"),
    ];
    let urls = [
        format!("url = \"smtp://box:{p}@mail.example.com\"\n"),
        format!("url = \"smtps://box:{p}@mail.example.com:465\"\n"),
        format!("url = \"http://box:{p}@mail.example.com\"\n"),
        format!("url = \"box:{p}@mail.example.com\"\n"),
    ];
    let stage = Stage::without_spool();
    let texts = mistakes
        .map(|mistake| format!("[[smarthost]]\nurl = \"smtp://mail.example.com\"\n{mistake}"))
        .into_iter()
        .chain(urls.map(|url| format!("[[smarthost]]\n{url}")));
    for text in texts {
        stage.configure_all(&text);
        let ran = stage.pillarbox(&["status"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{text}\n{ran:?}");
        holds_no_secret(&text, &ran.stderr);
    }
    // The same for a file that everybody can read, and for the command line.
    stage.configure_all(&format!("[[smarthost]]\nurl = \"smtp://m\"\nuser = \"box\"\npassword = \"{p}\"\n"));
    fs::set_permissions(stage.config(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ran = stage.pillarbox(&["status"]);
    assert_eq!(ran.code, 78);
    assert!(ran.stderr.contains("hint: chmod o-r "), "{ran:?}");
    holds_no_secret("a readable file", &ran.stderr);
    stage.configure("", "");
    for url in [format!("smtp://box:{p}@host"), format!("box:{p}@host"), format!("mail://box:{p}@host")] {
        let ran = stage.pillarbox(&["status", "--smarthost", &url]);
        assert_eq!(ran.code, 78, "{ran:?}");
        holds_no_secret("--smarthost", &ran.stderr);
    }
}

/// What is a proof of the password, or shows a token, as it goes out.
fn is_proof(line: &str) -> bool {
    // CRAM-MD5: the name and a digest. SCRAM: `c=`.
    let begins = line.starts_with(base64(USER).trim_end_matches('=')) || line.starts_with("Yz1");
    begins || line.starts_with("AUTH XOAUTH2 ") || line.starts_with("AUTH OAUTHBEARER ")
}

fn shows_no_proof(offers: &'static str, what: &str) {
    let options = Options { offers: vec![offers], login: Some((USER, PASSWORD)), ..Options::default() };
    let server = Server::with(options, |asked| match asked.line {
        line if is_proof(line) => {
            let said = line.rsplit(' ').next().unwrap_or_default();
            let said = String::from_utf8_lossy(&decoded(said)).into_owned();
            Answer::Say(format!("535-5.7.8 {line} is wrong\r\n535 5.7.8 so is {said}"))
        }
        _ => Answer::Usual,
    });
    let login = format!("user = {USER:?}\n{what} = {{ file = \"password\" }}\n");
    let stage = Stage::new(&(plain(server.port()) + &login), "");
    fs::write(stage.dir().join("password"), format!("{PASSWORD}\n")).unwrap();
    let text = fs::read_to_string(stage.config()).unwrap();
    fs::write(stage.config(), text + "[log]\nlevel = \"trace\"\n").unwrap();
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["ops@example.com"]));
    service.wait_log("WARN smarthost-unusable logging in 535 5.7.8 hint=");
    let status = stage.pillarbox(&["status", "--json"]).stdout;
    let proofs: Vec<String> = server.heard().into_iter().filter(|line| is_proof(line)).collect();
    assert!(!proofs.is_empty(), "nothing was proved: {:#?}", server.heard());
    for text in [service.log(), status] {
        holds_no_secret("log or status", &text);
        assert!(text.contains("****"), "{text}");
        for proof in &proofs {
            let proof = proof.rsplit(' ').next().unwrap_or_default();
            let said = String::from_utf8_lossy(&decoded(proof)).into_owned();
            assert!(!text.contains(proof) && !text.contains(&said), "{proof} is shown:\n{text}");
        }
    }
    assert_eq!(service.stop(), 0);
}

#[test]
fn n9_no_proof_of_a_password_is_ever_shown() {
    for offers in ["AUTH CRAM-MD5", "AUTH SCRAM-SHA-1", "AUTH SCRAM-SHA-256"] {
        shows_no_proof(offers, "password");
    }
}

#[test]
fn n9_no_token_is_ever_shown() {
    for offers in ["AUTH XOAUTH2", "AUTH OAUTHBEARER"] {
        shows_no_proof(offers, "token");
    }
}

const CLIENT_SECRET: &str = "client+secret/of=the~test";
const FIRST: &str = "first//refresh+token";

/// What nobody may see of an application's and a person's tokens, as it is, in a form and in a login.
fn forms_of_tokens() -> Vec<String> {
    let form =
        |text: &str| text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace('~', "%7E");
    let mut forms = vec!["-token-of-the-test".to_owned()];
    for secret in [CLIENT_SECRET, FIRST] {
        forms.extend([secret.to_owned(), form(secret), base64(secret)]);
    }
    for number in 1..=9 {
        let login = format!("user={}\x01auth=Bearer access-token-of-the-test-{number}\x01\x01", oauth::USER);
        forms.push(base64(&login));
    }
    forms
}

#[test]
fn n9_no_token_and_no_secret_of_the_token_endpoint_is_ever_shown() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Issuer::scripted(dir.path(), |_| {
        let quoting = r#"{"error":"invalid_grant","error_description":"no client+secret/of=the~test, no first//refresh+token, no client%2Bsecret%2Fof%3Dthe%7Etest, no first%2F%2Frefresh%2Btoken"}"#;
        Verdict::Refuse(400, quoting)
    });
    let server = oauth::guarded(&issuer);
    let secrets = format!("client_secret = {CLIENT_SECRET:?}\nrefresh_token = {FIRST:?}\n");
    let smarthost = format!("{}user = {:?}\n{}", plain(server.port()), oauth::USER, issuer.oauth(&secrets));
    let stage = Stage::new(&smarthost, "");
    let text = fs::read_to_string(stage.config()).unwrap();
    fs::write(stage.config(), text + "[log]\nlevel = \"trace\"\n").unwrap();
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["ops@example.com"]));
    service.wait_log("WARN smarthost-unusable invalid_grant, no ****, no ****, no ****, no **** hint=");
    let mut shown = vec![stage.pillarbox(&["status"]).stdout, stage.pillarbox(&["status", "--json"]).stdout];
    // Then it grants, and the mail server refuses and quotes what it was shown.
    issuer.follow(|_| Verdict::Grant { seconds: 0, rotate: true });
    server.follow(|asked| match asked.line.strip_prefix("AUTH XOAUTH2 ") {
        Some(said) => Answer::Say(format!(
            "535-5.7.3 {said}\r\n535 5.7.3 {}",
            String::from_utf8_lossy(&decoded(said)).replace('\x01', " ")
        )),
        None => Answer::Usual,
    });
    assert_eq!(stage.pillarbox(&["flush", "--strict"]).code, 75);
    server.wait_heard("AUTH", 1);
    service.wait_log("WARN smarthost-unusable 535 5.7.3 hint=");
    for arguments in [&["status"][..], &["status", "--json"], &["list"], &["list", "--json"]] {
        let ran = stage.pillarbox(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        shown.push(ran.stdout + &ran.stderr);
    }
    shown.push(String::from_utf8_lossy(&fs::read(format!("/proc/{}/cmdline", service.id())).unwrap()).into());
    shown.push(fs::read_to_string(stage.spool().join("lock")).unwrap());
    let is_for_tokens = |name: &String| name.starts_with("oauth-");
    let others = stage.names("meta").into_iter().filter(|name| !is_for_tokens(name));
    shown.extend(others.map(|name| stage.read("meta", &name)));
    shown.push(service.log());
    assert_eq!(stage.names("meta").iter().filter(|name| is_for_tokens(name)).count(), 1);
    assert_eq!(service.stop(), 0);
    for text in shown {
        for form in forms_of_tokens() {
            assert!(!text.contains(&form), "{form} is shown:\n{text}");
        }
    }
}

#[test]
fn n9_no_error_of_the_oauth_table_shows_a_secret() {
    let mistakes = [
        format!("client_secret = \"{PASSWORD}\"\nclient_secret = \"{PASSWORD}\"\n"),
        format!("client_secret = {PASSWORD}\n"),
        format!("client_secret = [\"{PASSWORD}\"]\n"),
        format!("client_secret = {{ value = \"{PASSWORD}\" }}\n"),
        format!("refresh_token = \"{PASSWORD}\n"),
        format!("refresh_token = \"{PASSWORD}\"\ngrant = \"client_credentials\"\n"),
        format!("secret = \"{PASSWORD}\"\n"),
        format!("wert = \"{PASSWORD}\"\n"),
        format!("token_url = \"https://box:{PASSWORD}@id.example.com/\"\n"),
    ];
    let stage = Stage::without_spool();
    for mistake in mistakes {
        let begin = "[[smarthost]]\nurl = \"smtp://m\"\nuser = \"u\"\n[smarthost.oauth]\nclient_id = \"i\"\n";
        stage.configure_all(&format!("{begin}{mistake}"));
        let ran = stage.pillarbox(&["status"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (78, ""), "{mistake}\n{ran:?}");
        holds_no_secret(&mistake, &ran.stderr);
    }
}
