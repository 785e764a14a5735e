//! Coming from another mailer: `init --from` on configurations as they are found in the world, and `import` of queues that
//! the real programs have written.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are an operator with an editor")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

#[path = "migrate/import.rs"]
mod import;
#[path = "migrate/init.rs"]
mod init;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "migrate/kill.rs"]
mod kill;
