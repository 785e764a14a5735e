//! The promises, end to end: the real binary, a folder it is given files in, and a server that follows a script.
//!
//! Each test is named for what it holds the product to; `n3_` and the like are the numbers of the promises.
//! Crashes between any two disk calls are the matter of `crash.rs` and `sigkill.rs`, not of these.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are a producer and a stopwatch")]

mod support;

#[path = "promises/access.rs"]
mod access;
#[path = "promises/bad_files.rs"]
mod bad_files;
#[path = "promises/delivery.rs"]
mod delivery;
#[path = "promises/disk.rs"]
mod disk;
#[path = "promises/failover.rs"]
mod failover;
#[path = "promises/flush.rs"]
mod flush;
#[path = "promises/lmtp.rs"]
mod lmtp;
#[path = "promises/login.rs"]
mod login;
#[path = "promises/manager.rs"]
mod manager;
#[path = "promises/oauth.rs"]
mod oauth;
#[path = "promises/order.rs"]
mod order;
#[path = "promises/policy.rs"]
mod policy;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[expect(dead_code, reason = "sigkill.rs uses the rest")]
#[path = "support/ptrace.rs"]
mod ptrace;
#[path = "promises/regressions.rs"]
mod regressions;
#[path = "promises/relays.rs"]
mod relays;
#[path = "promises/secrets.rs"]
mod secrets;
#[path = "promises/session.rs"]
mod session;
#[path = "promises/tls.rs"]
mod tls;
