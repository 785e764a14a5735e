//! The POST against a socket that answers what it is told to.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{HttpAnswer, HttpError, HttpLink, HttpTimeouts, HttpUrl};
use crate::net::tests::clock;

const SHORT: HttpTimeouts = HttpTimeouts {
    connect: Duration::from_secs(20),
    tls: Duration::from_secs(20),
    answer: Duration::from_secs(20),
};

/// Posts `a=b` to a server that hears the request out and says `answer`; what it heard, and what came back.
async fn posted(answer: Vec<u8>, timeouts: HttpTimeouts) -> (String, Result<HttpAnswer, HttpError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token?x=1", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"a=b") {
            let mut block = [0; 1024];
            let read = stream.read(&mut block).await.unwrap();
            heard.extend_from_slice(&block[..read]);
        }
        // A client that has had enough goes away in the middle.
        stream.write_all(&answer).await.ok();
        if answer.is_empty() {
            // Silent until the client goes.
            stream.read_u8().await.ok();
        }
        String::from_utf8(heard).unwrap()
    });
    let link = HttpLink::open(&url, None, timeouts, &clock()).await.unwrap();
    let came = link.post_form("a=b".into()).await;
    (server.await.unwrap(), came)
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_form_goes_out_and_an_answer_comes_back() {
    let (heard, came) = posted(answer("400 Bad Request\r\nRetry-After: 17", "{\"error\":1}"), SHORT).await;
    let came = came.unwrap();
    assert_eq!((came.status, came.body.as_slice()), (400, b"{\"error\":1}".as_slice()));
    assert_eq!(came.retry_after, Some(Duration::from_secs(17)));
    assert!(heard.starts_with("POST /token?x=1 HTTP/1.1\r\n"), "{heard}");
    for header in ["host: 127.0.0.1:", "content-type: application/x-www-form-urlencoded", "content-length: 3"]
    {
        assert!(heard.contains(header), "{heard}");
    }
}

#[tokio::test]
async fn an_answer_that_has_no_end_or_never_comes_is_an_error() {
    let endless = "x".repeat(65 * 1024);
    let (_, came) = posted(answer("200 OK", &endless), SHORT).await;
    assert_eq!(came.err(), Some(HttpError::TooLong));
    let (_, came) = posted(format!("HTTP/1.1 200 OK\r\nX: {endless}").into_bytes(), SHORT).await;
    assert!(matches!(came.err(), Some(HttpError::Broken(_))));
    let (_, came) = posted(b"220 mx.example.com ESMTP\r\n".to_vec(), SHORT).await;
    assert!(matches!(came.err(), Some(HttpError::Broken(_))));
    let soon = HttpTimeouts { answer: Duration::from_millis(200), ..SHORT };
    let (_, came) = posted(Vec::new(), soon).await;
    assert_eq!(came.err(), Some(HttpError::TimedOut(soon.answer)));
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (_, came) = posted(answer("302 Found\r\nLocation: http://127.0.0.1:1/", ""), SHORT).await;
    assert_eq!(came.unwrap().status, 302);
}

#[test]
fn a_url_is_a_scheme_a_host_and_a_path() {
    let shown = |text: &str| text.parse::<HttpUrl>().map(|url| url.to_string());
    for text in [
        "https://login.example.com/t/oauth2/v2.0/token",
        "https://h:8443/",
        "http://[::1]:80/x?y=z",
        "http://127.0.0.1:8080/x",
    ] {
        assert_eq!(shown(text).as_deref(), Ok(text.replace("]:80", "]").as_str()));
    }
    assert_eq!(shown("https://h").as_deref(), Ok("https://h/"));
    for (text, why) in [
        ("ftp://h/", "not a scheme"),
        ("h/token", "not a scheme"),
        ("https:///token", "no host name"),
        ("https://h:0/", "not a port"),
        ("https://h:99999/", "not a port"),
        ("https://h/a b", "not a path"),
        ("https://[zz]/", "not an IPv6 address"),
        ("https://h:/", "not a port"),
    ] {
        assert!(shown(text).unwrap_err().starts_with(why), "{text}: {:?}", shown(text));
    }
    assert!(!shown("https://u:geheim@h/").unwrap_err().contains("geheim"));
}
