//! Where a message came from, as far as neither its bytes nor its file tell.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the way in says of a message: who handed it in, and the settings of the folder it was dropped in, as they were then.
/// A plain drop into `pickup/` has none of this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// The login name of the one who dropped it or handed it in. `None`: the owner of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The folder, by its name in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Its recipients, whatever its bytes say: addresses and names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// The sender of those that name none that is usable, or of all, see [`Origin::force_from`]: an address, perhaps with
    /// `{user}` or `{hostname}` in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where [`Origin::from`] stands whatever its bytes say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_from: Option<ForceFrom>,
    /// Its producer doubles the dots at the beginnings of lines.
    #[serde(skip_serializing_if = "is_false")]
    pub unstuff: bool,
    /// Its bytes are no message but the text of one.
    #[serde(skip_serializing_if = "is_false")]
    pub text: bool,
    /// How it was called where it was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where its producer learns what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<PathBuf>,
}

/// Where a sender stands that is forced on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForceFrom {
    /// In the reverse-path.
    Envelope,
    /// In the From field.
    Header,
    /// In both.
    Both,
}

impl Origin {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Origin::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_false(value: &bool) -> bool {
    !*value
}
