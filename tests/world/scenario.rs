//! What happens between the crashes.

use pillarbox::fs::Dir;
use pillarbox::spool::Place;

use super::World;
use crate::model::{Away, FOLDERS};

type Scenario = fn(&mut World) -> Result<(), String>;

/// All of them but those with folders, the short ones first.
pub(crate) const ALL: [Scenario; 11] = [
    delivery,
    deferral,
    aside,
    failure,
    held,
    given_up_and_back,
    handed_in,
    kept,
    linked,
    written,
    everything,
];

/// With folders besides `pickup/`.
pub(crate) const WITH_FOLDERS: [Scenario; 5] = [folder, foreign, told, told_of_failure, late];

/// Two messages are accepted together and delivered.
pub(crate) fn delivery(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_file("two");
    world.accept(&["one", "two"])?;
    world.deliver()?;
    world.deliver()
}

/// A file with another name is copied, and one that has none is renamed.
pub(crate) fn linked(world: &mut World) -> Result<(), String> {
    world.drop_linked("one");
    world.drop_file("two");
    world.accept(&["one", "two"])?;
    world.deliver()?;
    world.deliver()
}

/// To a file somebody writes through its other name while it is copied; it is copied again.
pub(crate) fn written(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_written("two");
    world.accept(&["one", "two"])?;
    world.deliver()?;
    world.deliver()
}

/// Files in a folder on the filesystem of the spool, whose settings go with them.
pub(crate) fn folder(world: &mut World) -> Result<(), String> {
    world.use_folders();
    world.drop_file_in(FOLDERS[0], "one");
    world.drop_file_in(FOLDERS[0], "two");
    world.accept_from(FOLDERS[0], &["one", "two"])?;
    world.deliver()?;
    world.deliver_half()?;
    world.deliver()
}

/// Files in a folder on another filesystem, and one in `pickup/`.
pub(crate) fn foreign(world: &mut World) -> Result<(), String> {
    world.use_folders();
    world.drop_file_in(FOLDERS[1], "one");
    world.drop_file("two");
    world.accept_from(FOLDERS[1], &["one"])?;
    world.accept_from(Dir::Pickup, &["two"])?;
    world.deliver()?;
    world.deliver()
}

/// Producers are told of a delivery.
pub(crate) fn told(world: &mut World) -> Result<(), String> {
    world.use_folders();
    world.want_outcomes();
    world.drop_file_in(FOLDERS[0], "one");
    world.accept_from(FOLDERS[0], &["one"])?;
    world.deliver()?;
    world.tell_producers()
}

/// Producers are told of a failure.
pub(crate) fn told_of_failure(world: &mut World) -> Result<(), String> {
    world.use_folders();
    world.want_outcomes();
    world.drop_file_in(FOLDERS[0], "one");
    world.accept_from(FOLDERS[0], &["one"])?;
    world.fail()?;
    world.tell_producers()
}

/// And of one that is decided here.
pub(crate) fn told_of_refusal(world: &mut World) -> Result<(), String> {
    world.use_folders();
    world.want_outcomes();
    world.drop_file_in(FOLDERS[0], "one");
    world.accept_from(FOLDERS[0], &["one"])?;
    world.refuse()?;
    world.tell_producers()
}

/// A file on another filesystem, which after each crash comes late.
pub(crate) fn late(world: &mut World) -> Result<(), String> {
    world.mount_late(Away::Nothing);
    foreign_alone(world)
}

/// The same, and until then the directory on which it will be mounted is seen in its place.
pub(crate) fn late_over_a_directory(world: &mut World) -> Result<(), String> {
    world.mount_late(Away::EmptyDirectory);
    foreign_alone(world)
}

fn foreign_alone(world: &mut World) -> Result<(), String> {
    world.use_folders();
    world.drop_file_in(FOLDERS[1], "one");
    world.accept_from(FOLDERS[1], &["one"])?;
    world.deliver()
}

/// One recipient of the first message is deferred; a line is lost; then both messages go.
pub(crate) fn deferral(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_file("two");
    world.accept(&["one", "two"])?;
    world.deliver_half()?;
    world.put_back()?;
    world.deliver()?;
    world.put_back()?;
    world.deliver()
}

/// The first message steps aside, the second overtakes it.
pub(crate) fn aside(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_file("two");
    world.accept(&["one", "two"])?;
    world.trial()?;
    world.step_aside()?;
    world.deliver()?;
    world.deliver()
}

/// One message is refused by the smarthost, one by us; what is behind them goes.
pub(crate) fn failure(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_file("two");
    world.drop_file("three");
    world.accept(&["one", "two", "three"])?;
    world.fail()?;
    world.refuse()?;
    world.deliver()
}

/// One message is held and let go, one is removed.
pub(crate) fn held(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_file("two");
    world.drop_file("three");
    world.accept(&["one", "two", "three"])?;
    world.hold("one")?;
    world.remove("two")?;
    world.deliver()?;
    world.release_one("one")?;
    world.deliver()
}

/// What failed is brought back, one into its place and one out of line; a third is removed.
pub(crate) fn given_up_and_back(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_file("two");
    world.drop_file("three");
    world.accept(&["one", "two", "three"])?;
    world.fail()?;
    world.fail()?;
    world.refuse()?;
    world.retry("one", Place::Line)?;
    world.retry("two", Place::Aside)?;
    world.deliver()?;
    world.remove("three")?;
    world.deliver()
}

/// What failed is brought back into its place.
pub(crate) fn back(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.accept(&["one"])?;
    world.fail()?;
    world.retry("one", Place::Line)?;
    world.deliver()
}

/// Messages are handed in with an envelope of their own.
pub(crate) fn handed_in(world: &mut World) -> Result<(), String> {
    world.submit("one")?;
    world.drop_file("two");
    world.accept(&["two"])?;
    world.deliver()?;
    world.submit("three")?;
    world.deliver_half()?;
    world.deliver()
}

/// Delivered messages are kept.
pub(crate) fn kept(world: &mut World) -> Result<(), String> {
    world.keep_sent();
    world.drop_file("one");
    world.drop_file("two");
    world.accept(&["one", "two"])?;
    world.deliver()?;
    world.deliver_half()?;
    world.deliver()
}

/// Eight files are accepted in one group: more that is not synced than every subset can be tried of.
pub(crate) fn burst(world: &mut World) -> Result<(), String> {
    let names = ["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"];
    names.iter().for_each(|name| world.drop_file(name));
    world.accept(&names)?;
    world.deliver()
}

/// All transitions, with drops between them.
pub(crate) fn everything(world: &mut World) -> Result<(), String> {
    world.drop_file("one");
    world.drop_file("two");
    world.accept(&["one", "two"])?;
    world.drop_file("three");
    world.deliver()?;
    world.accept(&["three"])?;
    world.deliver_half()?;
    world.drop_file("four");
    world.put_back()?;
    world.deliver()?;
    world.accept(&["four"])?;
    world.fail()?;
    world.drop_file("five");
    world.drop_file("six");
    world.accept(&["five", "six"])?;
    world.put_back()?;
    world.deliver()?;
    world.refuse()?;
    world.deliver()
}
