use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::*;

fn spool() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a spool");
    crate::fs::make_spool(&root, 0o3730).unwrap();
    (dir, root)
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("pickup")).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_dropped_lies_there_whole_under_a_name_that_pickup_takes() {
    let (_dir, root) = spool();
    let spool = Spool::open(&root).unwrap();
    let dropped = spool.submit(&b"To: a@b.c\n\nhi\n"[..], None, "cron/../x.y").unwrap();
    let name = dropped.name.to_str().unwrap();
    assert!(name.ends_with("-cronxy.eml") && !name.contains(['/', '\n']), "{name}");
    assert_eq!((names(&root), dropped.size), (vec![name.to_owned()], 14));
    let path = root.join("pickup").join(name);
    assert_eq!(fs::read(&path).unwrap(), b"To: a@b.c\n\nhi\n");
    let (file, folder) = (fs::metadata(&path).unwrap(), fs::metadata(root.join("pickup")).unwrap());
    assert_eq!((file.mode() & 0o7777, file.gid()), (0o640, folder.gid()));
}

#[test]
fn names_sort_in_the_order_of_dropping() {
    let (_dir, root) = spool();
    let spool = Spool::open(&root).unwrap();
    let hints = ["z", "a", "", "m"];
    let dropped: Vec<String> = (0..200)
        .map(|n| spool.submit(&b"x"[..], None, hints[n % 4]).unwrap().name.into_string().unwrap())
        .collect();
    assert_eq!(names(&root), dropped);
    assert!(dropped[2].ends_with("-message.eml"), "{}", dropped[2]);
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Ok(buffer.len().min(5)),
                2 => Err(io::ErrorKind::Interrupted.into()),
                _ => Err(io::Error::other("the line is cut")),
            }
        }
    }
    let (_dir, root) = spool();
    let spool = Spool::open(&root).unwrap();
    let error = spool.submit(Broken(0), None, "x").unwrap_err();
    assert_eq!(error.to_string(), "the message cannot be read: the line is cut");
    assert_eq!((error.exit_code(), error.is_temporary()), (74, false));
    let error = spool.submit(io::empty(), None, "x").unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("the message is empty", 65));
    let mut draft = spool.draft("x").unwrap();
    draft.append(b"half").unwrap();
    let while_written = names(&root);
    assert!(while_written[0].starts_with('.') && while_written[0].ends_with(".tmp"), "{while_written:?}");
    drop(draft);
    assert_eq!(names(&root), [""; 0]);
}

#[test]
fn a_draft_can_be_read_before_it_is_finished() {
    let (_dir, root) = spool();
    let spool = Spool::open(&root).unwrap().with_ending("");
    let mut draft = spool.draft("x").unwrap();
    draft.append(b"To: a@b.c\n").unwrap();
    let mut text = String::new();
    draft.reader().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), draft.size()), ("To: a@b.c\n", 10));
    assert!(!draft.finish().unwrap().name.to_str().unwrap().contains('.'));
}

#[test]
fn where_there_is_no_spool_the_command_that_makes_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("no spool");
    let error = Spool::open(&root).unwrap_err();
    let path = root.display();
    assert_eq!(
        error.to_string(),
        format!("there is no spool at {path}\nhint: pillarbox init --spool '{path}'")
    );
    assert_eq!((error.exit_code(), error.is_temporary()), (75, true));
}

#[test]
fn a_folder_that_is_replaced_is_not_written_to_by_its_old_name() {
    let (_dir, root) = spool();
    let spool = Spool::open(&root).unwrap();
    fs::rename(root.join("pickup"), root.join("old")).unwrap();
    fs::create_dir(root.join("pickup")).unwrap();
    fs::set_permissions(root.join("pickup"), fs::Permissions::from_mode(0o700)).unwrap();
    spool.submit(&b"x"[..], None, "x").unwrap();
    assert_eq!(names(&root), [""; 0]);
}

#[test]
fn an_envelope_is_a_block_that_the_reader_takes_and_nothing_in_it_can_end_it() {
    let (dsn, _) = crate::mail::Dsn::of_rcpt(["NOTIFY=NEVER"]);
    let envelope = Envelope::from_sender("panel@example.com").to("ops@example.com").to_asking("root", dsn);
    assert_eq!(
        String::from_utf8(envelope.block().unwrap()).unwrap(),
        "X-Sender: <panel@example.com>\nX-Receiver: <ops@example.com>\nX-Receiver: <root> NOTIFY=NEVER\n\
         X-EndOfInjectedXHeaders: pillarbox\n"
    );
    let block = |envelope: Envelope| String::from_utf8(envelope.block().unwrap()).unwrap();
    assert!(block(Envelope::from_sender("").to("a@b.c")).starts_with("X-Sender: <>\n"));
    assert!(block(Envelope::from_header().to("a@b.c")).starts_with("X-Receiver: <a@b.c>\n"));
    for bad in ["a@b.c\nX-Receiver: <d@e.f>", "a@b.c, d@e.f", "a b", "", "a@b.c> NOTIFY=NEVER, <d@e.f"] {
        let envelope = Envelope::from_sender("x@y.z").to(bad);
        let error = envelope.block().unwrap_err();
        assert_eq!(error.exit_code(), 65, "{bad:?}");
        let lenient = String::from_utf8(envelope.block_as_it_is()).unwrap();
        assert_eq!(lenient.lines().count(), 3, "{lenient}");
        assert!(lenient.contains("X-Receiver: \""), "{lenient}");
    }
    assert!(Envelope::from_sender("x@y.z").block().is_err());
    assert_eq!(Envelope::from_sender("x@y.z").block_as_it_is(), b"");
}
