//! Whether the owner of a spool can read what somebody else drops into it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::disk::{self, Access, Folder};

/// Who takes what is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) user: u32,
    /// The account's name, or its number.
    pub(super) name: String,
    groups: Vec<u32>,
}

const READ: u16 = 4;

impl Owner {
    /// The owner of the spool at `root`: that of `pending/`, else of `pickup/`.
    pub(super) fn of(root: &Path, folder: &Folder) -> io::Result<Owner> {
        let spool = match disk::access_at(&root.join("pending")) {
            Ok(access) => access,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                folder.access()
            }
            Err(e) => return Err(e),
        };
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Ok(Owner::known(&spool, &read("/etc/passwd"), &read("/etc/group")))
    }

    fn known(spool: &Access, passwd: &str, groups: &str) -> Owner {
        let account = accounts(passwd).find(|fields| number(fields, 2) == Some(spool.user));
        let Some(account) = account else {
            // Nobody can say in which groups it is. It made the spool with this one.
            return Owner { user: spool.user, name: spool.user.to_string(), groups: vec![spool.group] };
        };
        let name = account[0];
        let is_member = |fields: &Vec<&str>| {
            fields.get(3).is_some_and(|members| members.split(',').any(|member| member.trim() == name))
        };
        let further = accounts(groups).filter(is_member).filter_map(|fields| number(&fields, 2));
        let groups = number(&account, 3).into_iter().chain(further).collect();
        Owner { user: spool.user, name: name.to_owned(), groups }
    }

    /// Whether it is a member of the group.
    pub(super) fn is_in(&self, group: u32) -> bool {
        self.groups.contains(&group)
    }

    /// Whether it can list the folder, and take files out of it.
    pub(super) fn may_work_in(&self, folder: &Folder) -> bool {
        self.user == 0 || self.bits(&folder.access()) & 7 == 7
    }

    /// Whether it can read the file.
    pub(super) fn may_read(&self, file: &File) -> io::Result<bool> {
        let access = disk::access_of(file)?;
        if self.user == 0 || self.user == access.user {
            return Ok(self.user == 0 || access.mode & 0o400 != 0);
        }
        match disk::acl_of(file)? {
            Some(list) => Ok(self.is_let_in_by(&list, &access)),
            None => Ok(self.bits(&access) & u32::from(READ) != 0),
        }
    }

    /// Read, write and search, as the mode has them.
    fn bits(&self, access: &Access) -> u32 {
        let shift = match () {
            () if access.user == self.user => 6,
            () if self.groups.contains(&access.group) => 3,
            () => 0,
        };
        (access.mode >> shift) & 7
    }

    /// The access check of acl(5) for somebody who does not own the file. The list is version 2: entries of tag, permissions
    /// and id in little-endian (linux/posix_acl_xattr.h). One that is not understood lets nobody in.
    fn is_let_in_by(&self, list: &[u8], access: &Access) -> bool {
        const USER: u16 = 0x02;
        const GROUP_OBJ: u16 = 0x04;
        const GROUP: u16 = 0x08;
        const MASK: u16 = 0x10;
        const OTHER: u16 = 0x20;
        let Some((version, entries)) = list.split_at_checked(4) else { return false };
        if version != [2, 0, 0, 0] {
            return false;
        }
        let entries = entries.chunks_exact(8).map(|e| {
            let id = u32::from_le_bytes([e[4], e[5], e[6], e[7]]);
            (u16::from_le_bytes([e[0], e[1]]), u16::from_le_bytes([e[2], e[3]]), id)
        });
        let entries: Vec<(u16, u16, u32)> = entries.collect();
        let of = |wanted: u16| entries.iter().find(|(tag, ..)| *tag == wanted).map(|(_, perm, _)| *perm);
        let mask = of(MASK).unwrap_or(7);
        if let Some((_, perm, _)) = entries.iter().find(|(tag, _, id)| *tag == USER && *id == self.user) {
            return perm & mask & READ != 0;
        }
        let is_group_of_owner = |(tag, _, id): &&(u16, u16, u32)| match *tag {
            GROUP_OBJ => self.groups.contains(&access.group),
            GROUP => self.groups.contains(id),
            _ => false,
        };
        let mut in_groups = entries.iter().filter(is_group_of_owner).peekable();
        match in_groups.peek() {
            Some(_) => in_groups.any(|(_, perm, _)| perm & mask & READ != 0),
            None => of(OTHER).unwrap_or(0) & READ != 0,
        }
    }
}

/// The name of the user or group of that number in a text like /etc/passwd or /etc/group.
pub(super) fn name_in(text: &str, id: u32) -> Option<String> {
    accounts(text).find(|fields| number(fields, 2) == Some(id)).map(|fields| fields[0].to_owned())
}

fn accounts(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn number(fields: &[&str], at: usize) -> Option<u32> {
    fields.get(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/:\nbox:x:998:997::/:\nann:x:1000:1000::/:\n";
    const GROUP: &str = "root:x:0:\nbox:x:997:ann\ndrop:x:900:box,ann\n";

    fn access(user: u32, group: u32, mode: u32) -> Access {
        Access { user, group, mode }
    }

    #[test]
    fn the_owner_has_the_groups_of_its_account_and_without_one_that_of_the_spool() {
        let known = Owner::known(&access(998, 555, 0o700), PASSWD, GROUP);
        assert_eq!((known.name.as_str(), known.groups.as_slice()), ("box", &[997, 900][..]));
        let unknown = Owner::known(&access(4711, 555, 0o700), PASSWD, GROUP);
        assert_eq!((unknown.name.as_str(), unknown.groups.as_slice()), ("4711", &[555][..]));
    }

    #[test]
    fn a_mode_lets_in_whom_it_says() {
        let owner = Owner::known(&access(998, 997, 0o700), PASSWD, GROUP);
        let rows = [
            (access(1000, 997, 0o640), true),
            (access(1000, 900, 0o640), true),
            (access(1000, 1000, 0o640), false),
            (access(1000, 1000, 0o644), true),
            (access(1000, 997, 0o604), false),
            (access(998, 1000, 0o600), true),
        ];
        for (access, reads) in rows {
            assert_eq!(owner.bits(&access) & 4 != 0, reads, "{access:?}");
        }
    }

    #[test]
    fn a_list_is_read_as_the_kernel_reads_it() {
        let owner = Owner::known(&access(998, 997, 0o700), PASSWD, GROUP);
        let list = |entries: &[(u16, u16, u32)]| {
            let mut bytes = vec![2, 0, 0, 0];
            for (tag, perm, id) in entries {
                bytes.extend(tag.to_le_bytes());
                bytes.extend(perm.to_le_bytes());
                bytes.extend(id.to_le_bytes());
            }
            bytes
        };
        let (user_obj, user, group_obj, group, mask, other) = (1, 2, 4, 8, 16, 32);
        let none = u32::MAX;
        let in_group = access(1000, 997, 0o640);
        let rows = [
            // The mask takes away what the group has.
            (vec![(user_obj, 6, none), (group_obj, 4, none), (mask, 0, none), (other, 4, none)], false),
            (vec![(user_obj, 6, none), (group_obj, 4, none), (mask, 4, none), (other, 0, none)], true),
            // A user who is named has that and nothing else.
            (vec![(user, 4, 998), (group_obj, 0, none), (mask, 4, none), (other, 0, none)], true),
            (vec![(user, 0, 998), (group_obj, 4, none), (mask, 4, none), (other, 4, none)], false),
            (vec![(user, 4, 1000), (group_obj, 0, none), (mask, 4, none), (other, 4, none)], false),
            (vec![(group_obj, 0, none), (group, 4, 900), (mask, 4, none), (other, 0, none)], true),
        ];
        for (entries, reads) in rows {
            assert_eq!(owner.is_let_in_by(&list(&entries), &in_group), reads, "{entries:?}");
        }
        let foreign = access(1000, 1000, 0o640);
        let others = list(&[(group_obj, 0, none), (mask, 0, none), (other, 4, none)]);
        assert!(owner.is_let_in_by(&others, &foreign));
        for strange in [&[][..], &[3, 0, 0, 0], &[2, 0]] {
            assert!(!owner.is_let_in_by(strange, &foreign));
        }
    }
}
