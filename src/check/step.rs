//! A step, and what came of it.

use serde::Serialize;

use super::Cause;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Result {
    /// As it should be.
    Ok,
    /// It works, and should be looked at.
    Warn,
    /// It does not work.
    Failed,
}

/// One step of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was looked at; these names do not change.
    pub step: &'static str,
    /// Of which smarthost, if of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smarthost: Option<String>,
    /// What came of it.
    pub result: Result,
    /// How long it took, milliseconds.
    pub ms: u64,
    /// What was found, in one line.
    pub found: String,
    /// Why it is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What that is taken from: the server's words, or the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Commands that mend it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<String>,
}

impl Step {
    /// As it should be.
    pub(super) fn ok(step: &'static str, found: impl Into<String>) -> Step {
        Step {
            step,
            smarthost: None,
            result: Result::Ok,
            ms: 0,
            found: found.into(),
            cause: None,
            evidence: None,
            hint: None,
            fix: Vec::new(),
        }
    }

    pub(super) fn warn(step: &'static str, cause: Cause, evidence: impl Into<String>) -> Step {
        Step { result: Result::Warn, ..Step::failed(step, cause, evidence) }
    }

    pub(super) fn failed(step: &'static str, cause: Cause, evidence: impl Into<String>) -> Step {
        Step {
            result: Result::Failed,
            cause: Some(cause),
            evidence: Some(evidence.into()).filter(|evidence: &String| !evidence.is_empty()),
            hint: Some(cause.cure().to_owned()),
            ..Step::ok(step, cause.what())
        }
    }

    pub(super) fn of(self, smarthost: &str) -> Step {
        Step { smarthost: Some(smarthost.to_owned()), ..self }
    }

    pub(super) fn took(self, span: std::time::Duration) -> Step {
        Step { ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX), ..self }
    }
}
