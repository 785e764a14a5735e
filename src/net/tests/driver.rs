//! The driver: messages, lost lines, silence.

use super::*;
use crate::mail::Stage;
use crate::smtp::{Answer, EndCause};

#[tokio::test]
async fn two_messages_and_quit_over_one_connection() {
    let message = [&TO_DATA[..], &[HearMessage, Say("250 2.0.0 queued\r\n")]].concat();
    let steps = script(&[&OPENING, &message, &message, &[Hear("QUIT"), Say("221 bye\r\n")]]);
    let (endpoint, task) = server(steps, None).await;
    let now = clock();
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    assert!(connection.extensions().pipelining && connection.tls().is_none());
    for _ in 0..2 {
        assert!(connection.is_usable());
        let transcript = connection.transact(transaction(), &mut short(), None, &now).await;
        assert!(transcript.is_taken() && transcript.lost.is_none(), "{transcript:?}");
    }
    connection.quit(&now).await;
    let heard = String::from_utf8(task.await.unwrap()).unwrap();
    assert_eq!(heard.matches("DATA\r\na: b\r\n\r\nhi\r\n.\r\n").count(), 2);
    assert!(heard.ends_with("QUIT\r\n"));
}

#[tokio::test]
async fn a_large_message_arrives_whole_and_in_order() {
    let (endpoint, task) =
        server(script(&[&OPENING, &TO_DATA, &[HearMessage, Say("250 ok\r\n")]]), None).await;
    let mut blocks: Vec<Vec<u8>> =
        (0..40).map(|n| format!("{n:08}-{}\r\n", "x".repeat(70)).repeat(800).into_bytes()).collect();
    blocks.push(b".\r\n".to_vec());
    let whole = blocks.concat();
    let now = clock();
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    let transcript = connection.transact(transaction(), &mut Blocks(blocks, None), None, &now).await;
    assert!(transcript.is_taken(), "{transcript:?}");
    assert!(task.await.unwrap().ends_with(&whole));
}

/// The server has a thread of its own: its words and the end of the line come while we are about to write, when
/// the runtime does not know yet that there is something to read.
#[tokio::test]
async fn a_server_that_refuses_in_the_middle_and_cuts_the_line_is_heard() {
    for _ in 0..50 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1000];
            for reply in ["220 mx\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
                stream.write_all(reply.as_bytes()).unwrap();
                assert!(stream.read(&mut buffer).unwrap() > 0);
            }
            stream.write_all(b"552 5.3.4 too large\r\n").unwrap();
            // It closes with octets unread, which the kernel turns into a RST.
        });
        let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port, implicit: false };
        let now = clock();
        let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
        let mut blocks = vec![b"x\r\n".repeat(20_000); 200];
        blocks.push(b".\r\n".to_vec());
        let transcript = connection.transact(transaction(), &mut Blocks(blocks, None), None, &now).await;
        assert_eq!(transcript.dot.reply().map(|r| r.code), Some(552), "{transcript:?}");
        assert_eq!(transcript.lost, None);
        assert!(!connection.is_usable());
        connection.quit(&now).await;
        thread.join().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_in_the_middle_and_reads_no_further_is_heard_at_once() {
    let now = clock();
    let refusal = [HearSome(100), Say("552 5.3.4 too large\r\n"), Hang];
    let mut connection = on_a_pipe(script(&[&OPENING, &TO_DATA, &refusal]), 64, &now).await.unwrap();
    let transcript =
        connection.transact(transaction(), &mut Blocks(vec![vec![b'x'; 1000]], Some("")), None, &now).await;
    assert_eq!(transcript.dot.reply().map(|r| r.code), Some(552), "{transcript:?}");
    assert_eq!(now().0, Duration::ZERO);
}

#[tokio::test]
async fn a_line_lost_before_the_dot_is_no_doubt_and_behind_it_is() {
    let now = clock();
    let (endpoint, _task) = server(script(&[&OPENING, &TO_DATA, &[HearMessage]]), None).await;
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    let transcript = connection.transact(transaction(), &mut short(), None, &now).await;
    assert!(transcript.is_in_doubt() && transcript.lost.is_some(), "{transcript:?}");

    let (endpoint, _task) = server(script(&[&OPENING, &TO_DATA, &[HearSome(5)]]), None).await;
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    let mut blocks = vec![b"x\r\n".repeat(20_000); 200];
    blocks.push(b".\r\n".to_vec());
    let transcript = connection.transact(transaction(), &mut Blocks(blocks, None), None, &now).await;
    assert_eq!(transcript.dot, Answer::NotSent);
    assert_eq!(transcript.lost.unwrap().stage, Stage::Body);
}

#[tokio::test(start_paused = true)]
async fn a_last_block_that_went_out_in_part_is_no_doubt() {
    let now = clock();
    let steps = script(&[&OPENING, &TO_DATA, &[HearSome(500)]]);
    let mut connection = on_a_pipe(steps, 64, &now).await.unwrap();
    let block = [&b"x\r\n".repeat(1000)[..], b".\r\n"].concat();
    let transcript = connection.transact(transaction(), &mut Blocks(vec![block], None), None, &now).await;
    assert_eq!(transcript.dot, Answer::NotSent);
    assert_eq!(transcript.lost.unwrap().stage, Stage::Body);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_goes_without_its_dot() {
    let (endpoint, task) =
        server(script(&[&OPENING, &TO_DATA, &[HearMessage, Say("250 ok\r\n")]]), None).await;
    let now = clock();
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    let mut body = Blocks(vec![b"a: b\r\n".to_vec()], Some("input/output error"));
    let transcript = connection.transact(transaction(), &mut body, None, &now).await;
    assert_eq!(transcript.dot, Answer::NotSent);
    assert_eq!(transcript.lost.unwrap().why, EndCause::Source("input/output error".to_owned()));
    assert!(!task.await.unwrap().ends_with(b".\r\n"), "the dot went out");

    let (endpoint, task) =
        server(script(&[&OPENING, &TO_DATA, &[HearMessage, Say("250 ok\r\n")]]), None).await;
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    let mut undotted = Blocks(vec![b"a: b\r\n".to_vec(), b"x\r\n".to_vec()], None);
    let transcript = connection.transact(transaction(), &mut undotted, None, &now).await;
    assert!(matches!(transcript.lost.unwrap().why, EndCause::Source(_)));
    assert!(!task.await.unwrap().ends_with(b"x\r\n"));
}

#[tokio::test]
async fn a_server_that_leaves_between_two_messages_is_noticed() {
    let (now, gate) = (clock(), Arc::new(Notify::new()));
    let steps = script(&[&OPENING, &[Wait(gate.clone()), Say("421 4.4.2 idle\r\n")]]);
    let (endpoint, _task) = server(steps.clone(), None).await;
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    gate.notify_one();
    let end = connection.idle_closed(&now).await;
    assert_eq!(end.stage, Stage::Idle);
    assert!(matches!(end.why, EndCause::Reply(ref reply) if reply.code == 421), "{end}");
    assert!(!connection.is_usable());
    connection.quit(&now).await;

    // Nobody was listening: the next message is not charged with it, nothing of it is sent.
    let (endpoint, task) = server(steps, None).await;
    let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
    gate.notify_one();
    let heard = task.await.unwrap();
    let transcript = connection.transact(transaction(), &mut short(), None, &now).await;
    assert_eq!(transcript.mail, Answer::NotSent);
    assert_eq!(transcript.lost.unwrap().stage, Stage::Idle);
    assert!(heard.ends_with(b"EHLO box.example\r\n"));
}

/// Each step of a whole session, one after the other, is where the server falls silent. On a pipe, so that time
/// stands still until everybody waits.
#[tokio::test(start_paused = true)]
async fn silence_in_each_step_ends_in_its_time() {
    let whole =
        script(&[&OPENING, &TO_DATA, &[HearMessage, Say("250 ok\r\n"), Hear("QUIT"), Say("221 bye\r\n")]]);
    let minutes = [5, 5, 5, 5, 2, 10];
    let stages = [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::FinalDot];
    let says = whole.iter().enumerate().filter(|(_, step)| matches!(step, Say(_))).map(|(index, _)| index);
    for ((at, minutes), stage) in says.zip(minutes).zip(stages) {
        let steps = script(&[&whole[..at], &[Hang]]);
        let now = clock();
        let end = match on_a_pipe(steps, 64 * 1024, &now).await {
            Err(OpenError::Session { end, .. }) => end,
            Err(other) => panic!("{other}"),
            Ok(mut connection) => {
                let transcript = connection.transact(transaction(), &mut short(), None, &now).await;
                transcript.lost.unwrap()
            }
        };
        let span = Duration::from_secs(60 * minutes);
        assert_eq!((end.stage, end.why), (stage, EndCause::TimedOut(span)));
        // QUIT to a pipe that is read by nobody may wait a second more.
        assert!((span..span + Duration::from_secs(2)).contains(&now().0), "{stage:?} took {:?}", now().0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_takes_and_a_quit_that_nobody_answers_end_in_time() {
    let now = clock();
    let mut connection = on_a_pipe(script(&[&OPENING, &TO_DATA, &[Hang]]), 64, &now).await.unwrap();
    let transcript =
        connection.transact(transaction(), &mut Blocks(vec![b"x".repeat(1000)], Some("")), None, &now).await;
    let end = transcript.lost.unwrap();
    assert_eq!((end.stage, end.why), (Stage::Body, EndCause::TimedOut(Duration::from_secs(180))));

    let now = clock();
    let connection = on_a_pipe(script(&[&OPENING, &[Hang]]), 64, &now).await.unwrap();
    connection.quit(&now).await;
    assert!(now().0 < Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_while_its_request_is_being_written_is_not_waited_for_again() {
    let now = clock();
    // The pipe takes eight octets at a time, so EHLO is half written when its reply comes.
    let early = vec![Say("220 mx\r\n250 mx\r\n"), Hear("EHLO"), Hang];
    assert!(on_a_pipe(early, 8, &now).await.unwrap().is_usable());
    assert_eq!(now().0, Duration::ZERO);
}
