//! `evenkeel version`: which build this is.

use clap::Args;
use serde::Serialize;

use super::{Exit, Global, Output, Paint};
use crate::telemetry::process::BUILD;

/// Print the version, the build and the licence
#[derive(Debug, Args)]
pub(super) struct Version {}

#[derive(Debug, Serialize)]
struct Build {
    version: &'static str,
    revision: &'static str,
    target: String,
    profile: &'static str,
    licence: &'static str,
}

impl Version {
    #[expect(clippy::unused_self, reason = "every command is carried out alike")]
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Exit {
        let build = Build {
            version: BUILD.version,
            revision: BUILD.revision,
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            licence: env!("CARGO_PKG_LICENSE"),
        };
        if global.json {
            output.json(&build);
            return Exit::Done;
        }
        let title = output.paint(Paint::Strong, format_args!("evenkeel {}", build.version));
        output.line(title);
        output.line(format_args!("revision  {}", build.revision));
        output.line(format_args!(
            "target    {} ({})",
            build.target, build.profile
        ));
        output.line(format_args!("licence   {}", build.licence));
        Exit::Done
    }
}
