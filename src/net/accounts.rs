//! Users and groups of this machine, by their names.
//!
//! A static binary has no NSS, so what counts is what `/etc/passwd` and `/etc/group` say: the users
//! that programs run as stand there. A number needs no line in them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// A user, and the group that is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub user: u32,
    /// The number of its group.
    pub group: u32,
}

/// What this machine says of its users and groups.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

/// A name that this machine does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this machine does not know `{name}` as a {what} (/etc/{file}); a number needs no name")]
pub struct UnknownAccount {
    what: &'static str,
    file: &'static str,
    name: String,
}

impl Accounts {
    /// Those of this machine; what cannot be read has none.
    pub fn read() -> Self {
        let text = |path| read(Path::new(path)).unwrap_or_default();
        Self {
            passwd: text("/etc/passwd"),
            group: text("/etc/group"),
        }
    }

    /// A user by its name or number.
    pub fn user(&self, name: &str) -> Result<u32, UnknownAccount> {
        let found = number_of(name).or_else(|| line(&self.passwd, name)?.get(2)?.parse().ok());
        found
            .filter(|number| is_one(*number))
            .ok_or_else(|| unknown("user", "passwd", name))
    }

    /// A group by its name or number.
    pub fn group(&self, name: &str) -> Result<u32, UnknownAccount> {
        let found = number_of(name).or_else(|| line(&self.group, name)?.get(2)?.parse().ok());
        found
            .filter(|number| is_one(*number))
            .ok_or_else(|| unknown("group", "group", name))
    }

    /// A user and its group: `user`, or `user:group`, of names or numbers. The group of a number
    /// without a line, and without a group, has the same number.
    pub fn account(&self, written: &str) -> Result<Account, UnknownAccount> {
        if let Some((user, group)) = written.split_once(':') {
            return Ok(Account {
                user: self.user(user)?,
                group: self.group(group)?,
            });
        }
        let user = self.user(written)?;
        let own = self.passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_own = fields.get(2)?.parse() == Ok(user);
            is_own.then(|| fields.get(3)?.parse().ok()).flatten()
        });
        Ok(Account {
            user,
            group: own.unwrap_or(user),
        })
    }

    /// The users that are members of a group, beside those whose own group it is.
    pub fn members(&self, group: u32) -> BTreeSet<u32> {
        let lines = self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.get(2)?.parse() == Ok(group))
                .then(|| fields.get(3).copied())
                .flatten()
        });
        let names = lines.flat_map(|names| names.split(','));
        names
            .filter_map(|name| self.user(name.trim()).ok())
            .collect()
    }
}

fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// The fields of the line that begins with a name.
fn line<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))
}

fn number_of(name: &str) -> Option<u32> {
    name.parse().ok()
}

/// To the kernel the last number means that it stays as it is.
fn is_one(number: u32) -> bool {
    number != u32::MAX
}

fn unknown(what: &'static str, file: &'static str, name: &str) -> UnknownAccount {
    let name = name.to_owned();
    UnknownAccount { what, file, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n\nbroken\nevenkeel:x:998:997::/:/bin/false\n\
                     anna:x:1000:1000::/:/bin/sh\n"
                .to_owned(),
            group: "root:x:0:\nevenkeel:x:997:\nops:x:50:anna,gone,evenkeel\n".to_owned(),
        }
    }

    #[test]
    fn names_and_numbers_are_accounts() {
        let account = |written| accounts().account(written).ok();
        let of = |user, group| Some(Account { user, group });
        assert_eq!(account("evenkeel"), of(998, 997));
        assert_eq!(
            account("998"),
            of(998, 997),
            "its line says which group it has"
        );
        assert_eq!(account("65532"), of(65532, 65532));
        assert_eq!(account("65532:ops"), of(65532, 50));
        assert_eq!(account("anna:7"), of(1000, 7));
        for wrong in [
            "",
            "nobody",
            "anna:nobody",
            ":",
            "anna:",
            "4294967295",
            "-1",
            "broken",
        ] {
            assert_eq!(account(wrong), None, "{wrong}");
        }
        let error = accounts().user("nobody").unwrap_err().to_string();
        assert!(
            error.contains("`nobody` as a user (/etc/passwd)"),
            "{error}"
        );
    }

    #[test]
    fn members_are_those_that_are_known() {
        let accounts = accounts();
        let ops = accounts.group("ops").unwrap();
        assert_eq!(accounts.members(ops), [998, 1000].into());
        assert_eq!(accounts.members(1), BTreeSet::new());
    }
}
