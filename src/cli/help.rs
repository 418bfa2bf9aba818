//! The front page of `--help`: the commands by what one wants to do.
//!
//! clap lists commands in one column. A person in an outage looks for a purpose, so the commands
//! stand in groups here; their one-line descriptions still come from the commands themselves.

use clap::Command;
use clap::builder::StyledStr;

/// A heading and the commands under it.
struct Group {
    heading: &'static str,
    commands: &'static [&'static str],
}

/// The command line with its front page grouped.
pub(super) fn grouped(command: Command) -> Command {
    let template = template(&command);
    command.help_template(template)
}

fn template(command: &Command) -> StyledStr {
    let header = command.get_styles().get_header();
    let literal = command.get_styles().get_literal();
    let mut parts = vec!["{about}\n\n{usage-heading} {usage}\n".to_owned()];
    for group in GROUPS {
        parts.push(format!("\n{header}{}{header:#}\n", group.heading));
        for name in group.commands {
            let about = command
                .find_subcommand(name)
                .and_then(Command::get_about)
                .map(ToString::to_string)
                .unwrap_or_default();
            parts.push(format!("  {literal}{name:<WIDTH$}{literal:#}{about}\n"));
        }
    }
    parts.push(format!("\n{header}Options{header:#}\n{{options}}\n"));
    parts.push(format!("\n{header}Exit codes{header:#}\n{EXIT_CODES}"));
    StyledStr::from(parts.concat())
}

/// Column of the descriptions.
const WIDTH: usize = 13;

const EXIT_CODES: &str =
    "  0 fine, 1 configuration wrong, 2 usage, 3 no instance answers, 8 timed out";

const GROUPS: &[Group] = &[
    Group {
        heading: "Run",
        commands: &["run", "check", "demo"],
    },
    Group {
        heading: "Before a change",
        commands: &["route"],
    },
    Group {
        heading: "Change",
        commands: &["reload", "upgrade"],
    },
    Group {
        heading: "Look",
        commands: &["status", "config"],
    },
    Group {
        heading: "Help",
        commands: &["doctor", "bundle", "completions", "man", "version"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_stands_in_one_group() {
        let command = super::super::Arguments::command();
        let mut listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|group| group.commands.iter().copied())
            .collect();
        listed.sort_unstable();
        let mut existing: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        existing.sort_unstable();
        assert_eq!(listed, existing);
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        for command in super::super::Arguments::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
