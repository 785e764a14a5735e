//! The form on the wire: the head composed once, the body streamed.

mod ascii;
mod canonical;
mod dots;
mod facts;
mod find;
mod force;
mod head;
mod parameters;
mod seven;

pub use ascii::ascii_head;
pub use canonical::Canonical;
pub use dots::{DotStuffer, DotUnstuffer};
pub(super) use facts::NUL_REASON;
pub use facts::{Facts, HeadText};
pub(super) use find::find_line_end;
pub use force::{Forced, force_from};
pub use head::{WireOptions, head};
pub use seven::{Plan, SevenBit, Survey, Unconvertible};
