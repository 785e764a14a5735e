//! TLS: whom we trust, what we say when we do not, and that nobody talks us out of it.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto};

use super::*;
use crate::mail::Stage;
use crate::smtp::{Login, Secret};

/// A certificate of an own authority for `names`; the authority's certificate lies in a file.
struct Authority {
    _dir: tempfile::TempDir,
    ca_file: PathBuf,
    acceptor: TlsAcceptor,
}

fn authority(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Authority {
    authority_named("an authority", names, change)
}

fn authority_named(issuer: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, issuer);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, &ca).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    io::Write::write_all(
        &mut std::fs::OpenOptions::new().write(true).create_new(true).open(&ca_file).unwrap(),
        ca.pem().as_bytes(),
    )
    .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    Authority { _dir: dir, ca_file, acceptor: TlsAcceptor::from(Arc::new(config)) }
}

impl Authority {
    fn trusting(&self, verify: Verify) -> TlsConfig {
        TlsConfig::new(&TlsOptions { ca_file: Some(self.ca_file.clone()), verify, ..TlsOptions::default() })
            .unwrap()
    }
}

fn not_trusting(verify: Verify) -> TlsConfig {
    // Something has to be trusted where a certificate is required; another authority is as good as the system's.
    authority_named("another authority", &["x"], |_| {}).trusting(verify)
}

const BEFORE_TLS: [Step; 5] =
    [Say("220 mx\r\n"), Hear("EHLO"), Say("250-mx\r\n250 STARTTLS\r\n"), Hear("STARTTLS"), Say("220 go\r\n")];
const INSIDE_TLS: [Step; 5] = [
    Hear("EHLO"),
    Say("250-mx\r\n250 AUTH PLAIN\r\n"),
    Hear("AUTH PLAIN AG9wcwBodW50ZXIy"),
    Say("235 ok\r\n"),
    Hear("QUIT"),
];

fn with_login(tls: TlsMode) -> SessionOptions {
    let login = Login::with_password("ops", Secret::new("hunter2"));
    SessionOptions { login: Some(login), ..options(tls) }
}

/// Opens by STARTTLS; gives what came of it and what the server heard.
async fn starttls(tls: &TlsConfig, acceptor: TlsAcceptor) -> (Result<Option<TlsFacts>, OpenError>, String) {
    let (endpoint, task) = server(script(&[&BEFORE_TLS, &[StartTls], &INSIDE_TLS]), Some(acceptor)).await;
    let now = clock();
    let opened = Connection::open(&endpoint, with_login(TlsMode::StartTlsRequired), Some(tls), &now).await;
    let facts = match opened {
        Ok(connection) => {
            let facts = connection.tls().cloned();
            connection.quit(&now).await;
            Ok(facts)
        }
        Err(error) => Err(error),
    };
    (facts, String::from_utf8(task.await.unwrap()).unwrap())
}

fn tls_fault(error: OpenError) -> (TlsFault, String) {
    match error {
        OpenError::Tls { error, .. } => (error.kind, error.to_string()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn starttls_with_a_certificate_of_the_ca_file_logs_in_inside() {
    let ca = authority(&["127.0.0.1"], |_| {});
    let (facts, heard) = starttls(&ca.trusting(Verify::Required), ca.acceptor.clone()).await;
    let facts = facts.unwrap().unwrap();
    assert_eq!((facts.version.as_str(), facts.problem), ("TLSv1_3", None));
    assert!(!facts.certificate.is_empty());
    assert!(heard.ends_with("QUIT\r\n"), "{heard}");
}

#[tokio::test]
async fn implicit_tls_carries_a_message() {
    let ca = authority(&["127.0.0.1"], |_| {});
    let steps = script(&[&[StartTls], &OPENING, &TO_DATA, &[HearMessage, Say("250 ok\r\n"), Hear("QUIT")]]);
    let (endpoint, task) = server(steps, Some(ca.acceptor.clone())).await;
    let endpoint = Endpoint { implicit: true, ..endpoint };
    let now = clock();
    let tls = ca.trusting(Verify::Required);
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), Some(&tls), &now).await.unwrap();
    let mut blocks = vec![b"x\r\n".repeat(20_000); 20];
    blocks.push(b".\r\n".to_vec());
    let transcript = connection.transact(transaction(), &mut Blocks(blocks, None), None, &now).await;
    assert!(transcript.is_taken(), "{transcript:?}");
    connection.quit(&now).await;
    assert!(task.await.unwrap().ends_with(b"QUIT\r\n"));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_or_told() {
    let ca = authority(&["mx.example.com"], |_| {});
    let (opened, heard) = starttls(&ca.trusting(Verify::Required), ca.acceptor.clone()).await;
    let (kind, text) = tls_fault(opened.unwrap_err());
    assert_eq!(kind, TlsFault::Certificate(CertificateFault::WrongName));
    assert_eq!(
        text,
        "the server's certificate cannot be trusted: it is for mx.example.com, expected 127.0.0.1"
    );
    assert!(!heard.contains("AUTH"));

    let (opened, _) = starttls(&ca.trusting(Verify::Opportunistic), ca.acceptor.clone()).await;
    assert_eq!(opened.unwrap().unwrap().problem.unwrap().fault, CertificateFault::WrongName);
}

#[tokio::test]
async fn an_unknown_issuer_is_refused_or_told() {
    let ca = authority(&["127.0.0.1"], |_| {});
    let (opened, heard) = starttls(&not_trusting(Verify::Required), ca.acceptor.clone()).await;
    let (kind, text) = tls_fault(opened.unwrap_err());
    assert_eq!(kind, TlsFault::Certificate(CertificateFault::UnknownIssuer));
    assert!(text.contains("nobody that this box trusts"), "{text}");
    assert!(!heard.contains("AUTH"));

    let made_anew = authority(&["x"], |_| {}).trusting(Verify::Required);
    let (opened, _) = starttls(&made_anew, ca.acceptor.clone()).await;
    assert_eq!(tls_fault(opened.unwrap_err()).0, TlsFault::Certificate(CertificateFault::UnknownIssuer));

    let tls = not_trusting(Verify::Opportunistic);
    for _ in 0..2 {
        // The second time as well: no session is resumed past the verdict.
        let (opened, heard) = starttls(&tls, ca.acceptor.clone()).await;
        assert_eq!(opened.unwrap().unwrap().problem.unwrap().fault, CertificateFault::UnknownIssuer);
        assert!(heard.ends_with("QUIT\r\n"));
    }
}

#[tokio::test]
async fn certificates_out_of_their_time_are_told_apart() {
    let past = authority(&["127.0.0.1"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let (opened, _) = starttls(&past.trusting(Verify::Required), past.acceptor.clone()).await;
    assert_eq!(tls_fault(opened.unwrap_err()).0, TlsFault::Certificate(CertificateFault::Expired));
    let future = authority(&["127.0.0.1"], |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
    let (opened, _) = starttls(&future.trusting(Verify::Required), future.acceptor.clone()).await;
    assert_eq!(tls_fault(opened.unwrap_err()).0, TlsFault::Certificate(CertificateFault::NotYetValid));
}

#[tokio::test]
async fn what_is_injected_behind_the_220_is_never_believed() {
    let ca = authority(&["127.0.0.1"], |_| {});
    let tls = ca.trusting(Verify::Required);
    let mut steps = BEFORE_TLS.to_vec();
    steps[4] = Say("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n");
    let (endpoint, task) = server(script(&[&steps, &[Hear("")]]), Some(ca.acceptor.clone())).await;
    let now = clock();
    let error = Connection::open(&endpoint, with_login(TlsMode::StartTlsRequired), Some(&tls), &now)
        .await
        .err()
        .unwrap();
    assert_eq!(error.stage(), Stage::StartTls, "{error}");
    assert!(!String::from_utf8(task.await.unwrap()).unwrap().contains("AUTH"));
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_so() {
    let (endpoint, _task) = server(script(&[&OPENING, &[Hang]]), None).await;
    let endpoint = Endpoint { implicit: true, ..endpoint };
    let tls = not_trusting(Verify::Opportunistic);
    let error =
        Connection::open(&endpoint, options(TlsMode::None), Some(&tls), &clock()).await.err().unwrap();
    let (kind, text) = tls_fault(error);
    assert_eq!(kind, TlsFault::NotTls, "{text}");
}

#[tokio::test]
async fn tls_is_never_taken_for_granted_without_its_configuration() {
    let (endpoint, _task) = server(script(&[&BEFORE_TLS]), None).await;
    let error =
        Connection::open(&endpoint, options(TlsMode::StartTlsRequired), None, &clock()).await.err().unwrap();
    assert_eq!(tls_fault(error).0, TlsFault::Unconfigured);
    let (endpoint, _task) = server(vec![Hang], None).await;
    let error =
        Connection::open(&endpoint, with_login(TlsMode::Implicit), None, &clock()).await.err().unwrap();
    assert_eq!(tls_fault(error).0, TlsFault::Unconfigured);
}

#[test]
fn a_ca_file_that_holds_nothing_is_an_error_with_its_name() {
    let options = |path: PathBuf| TlsOptions {
        ca_file: Some(path),
        verify: Verify::Opportunistic,
        ..TlsOptions::default()
    };
    let missing = TlsConfig::new(&options("/nonexistent/ca.pem".into())).err().unwrap();
    assert_eq!(missing.kind, TlsFault::CaFile);
    assert!(missing.to_string().contains("/nonexistent/ca.pem"), "{missing}");
    assert_eq!(TlsConfig::new(&options("/dev/null".into())).err().unwrap().kind, TlsFault::CaFile);
}
