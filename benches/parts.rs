//! How long the parts take: `cargo bench`. Compare ratios on one machine, not absolutes between two.

use std::ffi::OsString;
use std::hint::black_box;
use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, Divan};
use pillarbox::fs::{Clock as _, Lock, RealFs, SystemClock, make_spool};
use pillarbox::mail::{QueueIdSource, Reply, Stage, UnixTime};
use pillarbox::message::{self, Canonical, DotStuffer, Forced, Header, Identity, Scan, WireOptions};
use pillarbox::policy::classify;
use pillarbox::spool::{Candidate, Spool};

fn main() {
    Divan::from_args().main();
}

/// About 4 KB, as a building controller writes it.
fn sample() -> Vec<u8> {
    let mut text = String::from(
        "From: Panel <panel@example.com>\nTo: ops@example.com, \"On call\" <night@example.com>\nCc: log@example.com\n\
         Subject: door 3 open\nDate: Mon, 23 Nov 2026 14:10:53 +0000\nMessage-ID: <1@example.com>\n\n",
    );
    while text.len() < 4096 {
        text.push_str("Door 3 has been open for five minutes.\n.and a line with a dot in front\n");
    }
    text.into_bytes()
}

fn scanned(bytes: &[u8]) -> Header {
    match Header::scan(bytes, true) {
        Ok(Scan::Done(header)) => header,
        other => panic!("the sample has a header: {other:?}"),
    }
}

#[divan::bench]
fn header_scan(bencher: Bencher<'_, '_>) {
    let bytes = sample();
    bencher.bench(|| scanned(black_box(&bytes)));
}

#[divan::bench]
fn envelope(bencher: Bencher<'_, '_>) {
    let bytes = sample();
    let header = scanned(&bytes);
    bencher.bench(|| message::address(black_box(&header), &bytes, &Identity::default()));
}

#[divan::bench]
fn wire_form(bencher: Bencher<'_, '_>) {
    let bytes = sample();
    let header = scanned(&bytes);
    let options = WireOptions {
        queue_id: QueueIdSource::primed(None).draw(UnixTime::from_secs(1)),
        accepted: UnixTime::from_secs(1),
        hostname: "box.example.com",
        from: None,
        forced: &Forced::default(),
        received: true,
    };
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| {
        let (mut canonical, mut lines) = (Vec::with_capacity(8192), Canonical::new());
        let (mut out, mut dots) = (Vec::with_capacity(8192), DotStuffer::new());
        dots.push(&message::head(&header, &bytes, &options), &mut out);
        lines.push(&bytes[header.body_offset()..], &mut canonical);
        lines.finish(&mut canonical);
        dots.push(&canonical, &mut out);
        dots.finish(&mut out);
        out
    });
}

#[divan::bench]
fn queue_id(bencher: Bencher<'_, '_>) {
    let mut ids = QueueIdSource::primed(None);
    bencher.bench_local(|| ids.draw(UnixTime::from_secs(1)));
}

#[divan::bench]
fn policy(bencher: Bencher<'_, '_>) {
    let reply = Reply { code: 450, enhanced: "4.2.0".parse().ok(), text: vec!["later".into()] };
    bencher.bench(|| classify(black_box(Stage::Rcpt), black_box(&reply)));
}

/// Files are dropped, accepted with their syncs, begun and delivered with theirs, on the disk of the temporary folder.
#[divan::bench(args = [1, 8, 64], sample_count = 20, sample_size = 1)]
fn accept_begin_deliver(bencher: Bencher<'_, '_>, files: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    make_spool(folder.path(), 0o700).expect("a spool");
    let lock = Lock::acquire(folder.path(), "a bench").expect("the lock");
    let spool = Spool::new(Arc::new(RealFs::open(folder.path()).expect("its folders")), Box::new(lock));
    spool.recover().expect("an empty spool recovers");
    let bytes = sample();
    #[expect(clippy::disallowed_methods, reason = "the bench plays the producer")]
    let drop_files = || -> Vec<Candidate> {
        let name = |n: usize| OsString::from(format!("{n}.eml"));
        (0..files)
            .map(|n| {
                std::fs::write(folder.path().join("pickup").join(name(n)), &bytes).expect("a drop");
                Candidate { name: name(n), settled: true, rested: true, holds: false }
            })
            .collect()
    };
    bencher.counter(ItemsCount::new(files)).with_inputs(drop_files).bench_local_values(|candidates| {
        let accepted = spool.accept(&candidates, SystemClock.wall(), &|_, _| None).expect("a sound disk");
        assert!(accepted.iter().all(Result::is_ok));
        while let Some(head) = spool.head() {
            let in_flight = spool.begin(head).expect("a sound disk").expect("the head is there");
            spool.deliver(in_flight).expect("a sound disk");
        }
    });
}
