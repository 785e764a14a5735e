//! Names of users and groups, as the box's own files have them. What comes from a directory service is not seen here;
//! a number always does.

use std::io;

/// Whose a file is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// The user of that name or number, with its primary group; a number that has no name is in the group of that number.
///
/// # Errors
///
/// /etc/passwd cannot be read.
pub fn user(name: &str) -> io::Result<Option<Owner>> {
    Ok(user_in(&std::fs::read_to_string("/etc/passwd")?, name))
}

/// The group of that name or number.
///
/// # Errors
///
/// /etc/group cannot be read.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    Ok(group_in(&std::fs::read_to_string("/etc/group")?, name))
}

/// What to call a user: its name, else its number.
pub fn user_name(user: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = fields(&passwd).find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(user));
    named.map_or_else(|| user.to_string(), |fields| fields[0].to_owned())
}

fn user_in(passwd: &str, name: &str) -> Option<Owner> {
    let owner = |fields: Vec<&str>| {
        Some(Owner { user: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
    };
    let is_it = |fields: &Vec<&str>| fields[0] == name || fields.get(2) == Some(&name);
    let named = fields(passwd).find(is_it).and_then(owner);
    named.or_else(|| name.parse().ok().map(|number| Owner { user: number, group: number }))
}

fn group_in(groups: &str, name: &str) -> Option<u32> {
    let named =
        fields(groups).find(|fields| fields[0] == name).and_then(|fields| fields.get(2)?.parse().ok());
    named.or_else(|| name.parse().ok())
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbroken:x:\nbox:x:998:997::/:/bin/false\n";
    const GROUP: &str = "root:x:0:\nbox:x:997:panel,camera\n";

    #[test]
    fn users_and_groups_go_by_name_or_number() {
        let owner = |user, group| Some(Owner { user, group });
        assert_eq!(user_in(PASSWD, "box"), owner(998, 997));
        assert_eq!(user_in(PASSWD, "998"), owner(998, 997));
        assert_eq!(user_in(PASSWD, "4711"), owner(4711, 4711));
        assert_eq!(user_in(PASSWD, "broken"), None);
        assert_eq!(user_in(PASSWD, "nobody"), None);
        assert_eq!(group_in(GROUP, "box"), Some(997));
        assert_eq!(group_in(GROUP, "4711"), Some(4711));
        assert_eq!(group_in(GROUP, "panel"), None);
    }
}
