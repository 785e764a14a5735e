//! Every place in the spool that syncs, with what would be lost without it.
//!
//! The numbers are those of docs/SPOOL.md. `tests/crash.rs` lets the model of the disk ignore each in turn and
//! demands that a promise breaks; a sync that nothing needs has no place here.

use crate::fs::SyncSite;

const fn site(number: u8, why: &'static str) -> SyncSite {
    SyncSite { number, why }
}

pub(super) const ACCEPT_FILE: SyncSite = site(1, "an accepted message could be empty or torn");
pub(super) const ACCEPT_PENDING: SyncSite = site(2, "an accepted message could be in no directory");
pub(super) const ACCEPT_PICKUP: SyncSite = site(3, "a delivered message could be dropped again");
pub(super) const BEGIN_SENDING: SyncSite = site(4, "a message in flight could be in no directory");
pub(super) const BEGIN_PENDING: SyncSite = site(5, "a delivered message could wait again");
pub(super) const DELIVER_SENDING: SyncSite = site(6, "more than one message could be sent twice");
pub(super) const RECORD_FILE: SyncSite = site(7, "a record could be torn, and its message held for ever");
pub(super) const RECORD_META: SyncSite = site(8, "a recipient that was taken could be sent to again");
pub(super) const DEFER_PENDING: SyncSite = site(9, "a deferred message could be in no directory");
pub(super) const FAIL_REPORT: SyncSite = site(10, "the reason beside a failed message could be torn");
pub(super) const FAIL_REPORT_NAME: SyncSite = site(11, "a failed message could lie without its reason");
pub(super) const FAIL_FAILED: SyncSite = site(12, "a failed message could be in no directory");
pub(super) const RECOVER_FAILED: SyncSite =
    site(13, "what failed before a kill could be lost in a power cut");
pub(super) const RECOVER_SENDING: SyncSite = site(14, "what was begun before a kill could be lost");
pub(super) const RECOVER_PENDING: SyncSite = site(15, "what was deferred before a kill could be lost");
pub(super) const RECOVER_PICKUP: SyncSite =
    site(16, "what was accepted before a kill could be dropped again");
pub(super) const RETRY_PENDING: SyncSite =
    site(17, "a message that was brought back could be in no directory");
pub(super) const RETRY_FAILED: SyncSite =
    site(18, "a message that was brought back and delivered could be in failed/ again");
pub(super) const REMOVE: SyncSite = site(19, "a message that was removed could be sent");
pub(super) const SUBMIT_FILE: SyncSite = site(20, "a message that was handed in could be empty or torn");
pub(super) const SUBMIT_PENDING: SyncSite = site(21, "a message that was handed in could be in no directory");
pub(super) const DELIVER_SENT: SyncSite = site(22, "a delivered message that was to be kept could be gone");
pub(super) const COPY_FILE: SyncSite = site(30, "a message that was copied could be empty or torn");
pub(super) const COPY_PENDING: SyncSite = site(31, "a file whose name was given up could have no copy");
pub(super) const COPY_TAKEN: SyncSite = site(32, "a message that was copied could be dropped again");

pub(super) const ACCEPT_FOLDER: SyncSite =
    site(33, "a delivered message could be in its folder again, or a hidden name for ever");
pub(super) const RECOVER_FOLDER: SyncSite =
    site(34, "what was taken from a folder before a kill could be dropped again");
pub(super) const FOREIGN_FILE: SyncSite =
    site(35, "a message from another filesystem could be empty or torn");
pub(super) const FOREIGN_PENDING: SyncSite =
    site(36, "a file on another filesystem could be hidden and have no copy");
pub(super) const FOREIGN_TAKEN: SyncSite =
    site(37, "a message from another filesystem could be dropped again");
pub(super) const ORIGIN_FILE: SyncSite = site(38, "a folder's settings could be torn, and the message held");
pub(super) const ORIGIN_META: SyncSite =
    site(39, "a message could be sent without the settings of its folder");

pub(super) const OUTCOME_FILE: SyncSite = site(40, "what a producer is told could be torn");
pub(super) const OUTCOME_NAME: SyncSite = site(41, "a producer could never be told");

/// All of them.
pub const SYNC_SITES: [SyncSite; 34] = [
    ACCEPT_FILE,
    ACCEPT_PENDING,
    ACCEPT_PICKUP,
    BEGIN_SENDING,
    BEGIN_PENDING,
    DELIVER_SENDING,
    RECORD_FILE,
    RECORD_META,
    DEFER_PENDING,
    FAIL_REPORT,
    FAIL_REPORT_NAME,
    FAIL_FAILED,
    RECOVER_FAILED,
    RECOVER_SENDING,
    RECOVER_PENDING,
    RECOVER_PICKUP,
    RETRY_PENDING,
    RETRY_FAILED,
    REMOVE,
    SUBMIT_FILE,
    SUBMIT_PENDING,
    DELIVER_SENT,
    COPY_FILE,
    COPY_PENDING,
    COPY_TAKEN,
    ACCEPT_FOLDER,
    RECOVER_FOLDER,
    FOREIGN_FILE,
    FOREIGN_PENDING,
    FOREIGN_TAKEN,
    ORIGIN_FILE,
    ORIGIN_META,
    OUTCOME_FILE,
    OUTCOME_NAME,
];
