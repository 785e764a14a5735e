//! Where a password or a token comes from. It is read anew for each session.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::smtp::Secret;

/// The longest that a command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);

/// The most of what a command says that is read.
const OUTPUT_MAX: u64 = 64 * 1024;

/// Where a password comes from.
#[derive(Debug, Clone)]
pub enum Password {
    /// In the configuration itself.
    Inline(Secret),
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The first line of what a program says; the program and its arguments.
    Command(Vec<String>),
}

impl Password {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What could not be read, and why; never the secret, and nothing that a command said.
    pub async fn read(&self) -> Result<Secret, String> {
        match self {
            Password::Inline(secret) => Ok(secret.clone()),
            Password::File(path) => read(path),
            Password::Env(name) => std::env::var(name).map(Secret::new).map_err(|_| {
                format!("the password should be in the environment variable {name}, which is not set")
            }),
            Password::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => read(&Path::new(&directory).join(name)),
                None => Err(format!(
                    "the password should be the systemd credential {name}, but no credentials were passed \
                     (CREDENTIALS_DIRECTORY is not set)"
                )),
            },
            Password::Command(words) => ask(words, COMMAND_WITHIN).await,
        }
    }
}

fn first_line(text: &str) -> Secret {
    Secret::new(text.lines().next().unwrap_or_default())
}

fn read(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path);
    text.map(|text| first_line(&text))
        .map_err(|e| format!("cannot read the password from {}: {e}", path.display()))
}

/// Runs a command to its end. Its words on stderr are dropped: it may quote there what it was to tell in secret.
async fn ask(words: &[String], within: Duration) -> Result<Secret, String> {
    let program = words.first().map_or("", String::as_str);
    let cannot =
        |why: &dyn std::fmt::Display| format!("cannot get the password from the command {program}: {why}");
    let mut child = Command::new(program)
        .args(words.iter().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| cannot(&e))?;
    // With what it started; also where the service stops meanwhile.
    let group = Group(child.id());
    let mut output = Vec::new();
    let ended = timeout(within, end_of(&mut child, &mut output)).await;
    let status = match ended {
        Ok(status) => status.map_err(|e| cannot(&e))?,
        Err(_) => return Err(cannot(&format!("it was not done within {} s", within.as_secs()))),
    };
    std::mem::forget(group);
    if !status.success() {
        return Err(cannot(&format!("it ended with {status}")));
    }
    let text = String::from_utf8(output).map_err(|_| cannot(&"expected UTF-8 on its stdout"))?;
    match first_line(&text) {
        secret if secret.expose().is_empty() => Err(cannot(&"expected a line on its stdout, found none")),
        secret => Ok(secret),
    }
}

async fn end_of(child: &mut Child, output: &mut Vec<u8>) -> std::io::Result<std::process::ExitStatus> {
    if let Some(stdout) = child.stdout.take() {
        stdout.take(OUTPUT_MAX).read_to_end(output).await?;
    }
    child.wait().await
}

/// The processes of a command; they are killed when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may be gone already.
            let _gone = kill_process_group(id, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<Secret, String> {
        // Short where the script is made to hang, and long for a machine that has much to do.
        let within = Duration::from_secs(if script.contains("wait") { 2 } else { 60 });
        ask(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], within).await
    }

    #[tokio::test]
    async fn a_commands_first_line_is_the_password() {
        assert_eq!(shell("echo geheim; echo more").await, Ok(Secret::new("geheim")));
        assert_eq!(shell("printf geheim").await, Ok(Secret::new("geheim")));
    }

    #[tokio::test]
    async fn an_error_names_the_command_and_its_end_and_nothing_it_said() {
        for (script, why) in [
            ("echo geheim; echo geheim >&2; exit 3", "it ended with exit status: 3"),
            ("kill -9 $$", "it ended with signal: 9"),
            ("true", "expected a line on its stdout, found none"),
            ("printf 'geheim\\377'", "expected UTF-8 on its stdout"),
            ("echo geheim; sleep 600 & wait", "it was not done within 2 s"),
        ] {
            let error = shell(script).await.unwrap_err();
            assert!(error.starts_with("cannot get the password from the command sh: "), "{error}");
            assert!(error.contains(why) && !error.contains("geheim"), "{script}: {error}");
        }
        let error = ask(&["/nonexistent/pass".to_owned()], Duration::from_secs(1)).await.unwrap_err();
        assert!(error.contains("/nonexistent/pass: No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > '{}'; wait", pid_file.display());
        shell(&script).await.unwrap_err();
        let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        let is_gone = || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        timeout(Duration::from_secs(10), async {
            while !is_gone() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
