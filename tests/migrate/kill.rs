//! SIGKILL before and after every call that `import` makes in the old queue. What it does in the spool between them is that
//! of `send`, which tests/sigkill.rs sweeps.

#[expect(dead_code, reason = "sigkill.rs uses the rest")]
#[path = "../support/ptrace.rs"]
mod ptrace;

use std::time::Duration;

use crate::import::{names, nullmailer};
use crate::support::stage::Stage;
use ptrace::{Watch, When};

const LIMIT: Duration = Duration::from_secs(60);

/// The files of the queue as they are called in the spool, in its order.
const ORDER: [&str; 3] = ["1795478254.27857", "1795478255.27860", "1795478255.27862"];

/// What lies in the spool once an import that is killed there was run again; and how many calls it made.
fn killed_at(kill: Option<(usize, When)>) -> (Vec<String>, usize) {
    let stage = Stage::new("", "");
    let dir = nullmailer(&stage);
    let path = dir.display().to_string();
    let queue = dir.join("queue").canonicalize().unwrap();
    let watch = Watch { dir: &queue, kill, fail: None, limit: LIMIT };
    let mut command = stage.command(&["import", "nullmailer", &path]);
    command.stdout(std::process::Stdio::null());
    let trace = ptrace::run(&mut command, &watch, drop).unwrap();
    assert_eq!(trace.killed, kill.is_some(), "{:?}", trace.calls);
    let again = stage.pillarbox(&["import", "nullmailer", &path]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(names(&queue).len(), 3);
    assert!(names(&queue).iter().all(|name| name.starts_with('.')), "{:?}", names(&queue));
    let files = stage.list().iter().map(|row| row["file"].as_str().unwrap().to_owned()).collect();
    (files, trace.calls.len())
}

#[test]
fn an_import_that_is_killed_loses_nothing_and_takes_one_message_twice_at_most() {
    let (undisturbed, calls) = killed_at(None);
    assert_eq!(undisturbed, ORDER);
    assert!(calls >= 9, "expected to see each file opened, renamed and synced, saw {calls} calls");
    let mut twice = 0;
    for nth in 1..=calls {
        for when in [When::Before, When::After] {
            let (mut files, _) = killed_at(Some((nth, when)));
            let all = files.len();
            files.dedup();
            // A copy stands behind the one that it is of.
            assert_eq!(files, ORDER, "call {nth} {when:?}");
            assert!(all <= ORDER.len() + 1, "call {nth} {when:?}");
            twice += all - ORDER.len();
        }
    }
    // Between acceptance and the new name: otherwise this test looks at nothing.
    assert!(twice >= ORDER.len(), "{twice}");
}
