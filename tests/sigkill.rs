//! SIGKILL at every file-system call of the product, and nothing may be lost.
//!
//! The product runs under ptrace (`support/ptrace.rs`), which numbers its calls below the spool;
//! for each number, right before and right after the call, it is killed there in a fresh spool
//! with ten messages. Then it runs again, undisturbed, until the spool is empty, and the judge
//! (`support/judge.rs`) compares what a sink in this process received with what was dropped.
//!
//! `support/mixed.rs` does the same with messages of which each meets another fate, `support/one_shot.rs` with the commands
//! of an operator.
//!
//! A violation names its kill point. To run that one again, alone, in a directory that stays:
//! `PILLARBOX_SWEEP_AT=flush:57:after cargo test --test sigkill` (or `run:57:before`).
//! `PILLARBOX_TEST_BINARY` names another build of the product to sweep.
//!
//! A process that is killed loses nothing that it had written: what the disk keeps through a power
//! cut is not looked at here.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "support/sweep.rs"]
mod sweep;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[test]
#[ignore = "not run here: the sweep knows ptrace on x86_64 and aarch64 Linux"]
fn sweep() {}
