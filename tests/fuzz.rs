//! What the fuzzers start from and what they found, once each: `fuzz/run.sh` goes on from here.

use std::path::Path;

#[path = "../fuzz/targets/address_list.rs"]
mod address_list;
#[path = "../fuzz/targets/envelope.rs"]
mod envelope;
#[path = "../fuzz/targets/header.rs"]
mod header;
#[path = "../fuzz/targets/replies.rs"]
mod replies;
#[path = "../fuzz/targets/submission.rs"]
mod submission;
#[path = "../fuzz/targets/wire.rs"]
mod wire;

/// Runs every file of a target's seeds and findings, and says how many there were.
fn run_all(target: &str, run: impl Fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut seen = 0;
    for dir in [fuzz.join("seeds").join(target), fuzz.join("findings").join(target)] {
        let Ok(files) = std::fs::read_dir(&dir) else { continue };
        for file in files {
            let path = file.expect("a seed").path();
            println!("{}", path.display());
            run(&std::fs::read(path).expect("a seed"));
            seen += 1;
        }
    }
    assert!(seen > 0, "no seeds for {target}");
}

#[test]
fn header_scan() {
    run_all("header", header::run);
}

#[test]
fn address_lists() {
    run_all("address_list", address_list::run);
}

#[test]
fn envelopes() {
    run_all("envelope", envelope::run);
}

#[test]
fn smtp_on_stdin() {
    run_all("submission", submission::run);
}

#[test]
fn wire_form() {
    run_all("wire", wire::run);
}

#[test]
fn replies_of_a_server() {
    run_all("replies", replies::run);
}
