//! The files that the process may touch: Landlock.
//!
//! Folders are allowed, not files: certificates are renewed by renaming, mounted ones by swapping a
//! link, and a new file is not the one that was there at the start. So a reload may name whatever
//! lies beside what was named then; what lies elsewhere is refused with a reason, since the kernel
//! would only say "permission denied". To execute is not restricted, but what is executed is read:
//! the folder of this program is among those, for its successor.
//!
//! Whatever a process starts is confined as it is, for good; and the kernel lays no more than
//! sixteen rules over each other. So a successor is told what it is confined to already
//! ([`Confined::told`]), adds rules only where they allow less, and can say why a file is out of
//! its reach.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, RestrictSelfError, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

use super::rules::{Rules, Touched};

/// What a process is confined to. All of it holds at once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confined {
    layers: Vec<Rules>,
}

impl Confined {
    /// Confines this thread and all that it starts. What keeps it from that is added to `doubts`.
    pub(super) fn begin(&mut self, rules: Rules, doubts: &mut Vec<String>) {
        if self.layers.iter().any(|layer| rules.allow_all_of(layer)) {
            return;
        }
        let why = match confine(&rules) {
            Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => {
                return self.layers.push(rules);
            }
            Ok(RulesetStatus::NotEnforced) => "this kernel has none".to_owned(),
            Err(error) => in_words(&error),
        };
        doubts.push(if self.is_so() {
            format!(
                "files are confined by Landlock to what the instances before could reach, but not \
                 to what this configuration names: {why}: restart the instance, an upgrade hands \
                 on what it is confined to"
            )
        } else {
            format!("files are not confined by Landlock: {why}")
        });
    }

    /// Whether it is confined at all.
    pub fn is_so(&self) -> bool {
        !self.layers.is_empty()
    }

    /// The first of these files that is out of reach. Looks at each, so not for a thread that
    /// others wait for.
    pub fn out_of_reach(&self, touched: &Touched) -> Option<PathBuf> {
        touched.out_of_reach(&self.layers)
    }

    /// Whether a file in this directory can be written.
    pub(super) fn may_write_in(&self, directory: &Path) -> bool {
        let touched = Touched::written(directory.join("."));
        self.out_of_reach(&touched).is_none()
    }

    /// What the instance before says, by the environment: whoever is started with it is confined
    /// to that. Not believed where it can be seen that it is not so.
    pub fn told(variable: Option<OsString>) -> Self {
        let text = variable.and_then(|text| text.into_string().ok());
        let told: Self = text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let everything = told.layers.iter().all(Rules::read_everything);
        let is_refused = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        if everything || fs::read_dir("/").is_err_and(is_refused) {
            told
        } else {
            Self::default()
        }
    }

    /// The same for a successor, if it can be said: else it adds its own.
    pub fn tell(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        (self.is_so() && text.len() <= LONGEST).then_some(text)
    }
}

fn in_words(error: &RulesetError) -> String {
    match error {
        RulesetError::RestrictSelf(RestrictSelfError::RestrictSelfCall { source, .. })
            if source.kind() == io::ErrorKind::ArgumentListTooLong =>
        {
            "the kernel lays no further rules over those of the processes that started this one"
                .to_owned()
        }
        error => error.to_string(),
    }
}

fn confine(rules: &Rules) -> Result<RulesetStatus, RulesetError> {
    let all: BitFlags<AccessFs> = AccessFs::from_all(KNOWN) & !AccessFs::Execute;
    let reading: BitFlags<AccessFs> = AccessFs::from_read(KNOWN) & !AccessFs::Execute;
    let status = Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(rules.read.keys(), reading))?
        .add_rules(path_beneath_rules(rules.written.keys(), all))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// What is asked for; older kernels do what they can of it.
const KNOWN: ABI = ABI::V3;

/// In bytes. The kernel starts nothing with a variable of 128 KiB.
const LONGEST: usize = 96 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_so_is_not_believed() {
        let layers = vec![Rules::default()];
        let text = Confined { layers }.tell().expect("it is short");
        // This process reads the root folder.
        assert!(!Confined::told(Some(text.into())).is_so());
        for nonsense in [None, Some("".into()), Some("[7]".into())] {
            assert!(!Confined::told(nonsense).is_so());
        }
        assert_eq!(Confined::default().tell(), None);
        let folder = |number: u64| (format!("/{number:0>100}").into(), (0, number));
        let read = (0..1000).map(folder).collect();
        let layers = vec![Rules {
            read,
            ..Rules::default()
        }];
        assert_eq!(Confined { layers }.tell(), None, "the kernel refuses it");
    }
}
