//! Coming from another mailer: `init --from` on configurations as they are found in the world.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are an operator with an editor")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

#[path = "migrate/init.rs"]
mod init;
