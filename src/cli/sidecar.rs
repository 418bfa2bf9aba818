//! `EVENKEEL_INBOUND=3000`: a sidecar that needs no file.
//!
//! Problem: whoever puts a proxy beside an application wants to say one thing, which port the
//! application has. So that says all: what comes in at `:8080` goes there, probes and metrics are
//! at `:9901`, the application's port is checked and readiness follows it. The variable stands for
//! a text like that of a file, so each of its settings can be overridden by the rule for all
//! (`EVENKEEL__LISTENER__INBOUND__BIND`), and `evenkeel config show` shows what it means.

use crate::config::Environment;

/// What `EVENKEEL_INBOUND` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sidecar {
    listen: u16,
    application: u16,
    /// Whether the environment says itself how the application is checked.
    is_checked: bool,
}

/// Why `EVENKEEL_INBOUND` says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SidecarError {
    #[error(
        "EVENKEEL_INBOUND is {0:?}: give the application's port (3000), or the one to accept on \
         before it (8080:3000)"
    )]
    Malformed(String),
    #[error(
        "EVENKEEL_INBOUND is {0:?}: port {1} cannot be both the application's and the one to accept \
         on; give another one to accept on before it (8000:{1})"
    )]
    Same(String, u16),
}

impl Sidecar {
    /// Reads the variable's value: `3000`, or `8080:3000`.
    pub(super) fn new(written: &str, environment: &dyn Environment) -> Result<Self, SidecarError> {
        let malformed = || SidecarError::Malformed(written.to_owned());
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
        let (listen, application) = match written.split_once(':') {
            Some((listen, application)) => (port(listen), port(application)),
            None => (Some(USUAL_PORT), port(written)),
        };
        let listen = listen.ok_or_else(malformed)?;
        let application = application.ok_or_else(malformed)?;
        if listen == application {
            return Err(SidecarError::Same(written.to_owned(), application));
        }
        let variables = environment.variables();
        let mut names = variables.iter().map(|(name, _)| name);
        Ok(Self {
            listen,
            application,
            is_checked: names.any(|name| PROBES.iter().any(|probe| name.starts_with(probe))),
        })
    }

    /// The file that it stands for.
    pub(super) fn text(&self) -> String {
        let Self {
            listen,
            application,
            is_checked,
        } = self;
        let mut text = format!(
            "version = 1\n\n\
             [admin]\nhttp = \":9901\"\nready_when = [\"app\"]\n\n\
             [shutdown]\ndrain = \"20s\"\n\n\
             [listener.inbound]\nbind = \":{listen}\"\nupstream = \"app\"\n\n\
             [upstream.app]\nendpoints = [\"127.0.0.1:{application}\"]\n\n\
             [upstream.app.health]\ninterval = \"1s\"\ntimeout = \"500ms\"\nhealthy_after = 1\n"
        );
        if !is_checked {
            // Only one probe may be written, and the variables would add another one.
            text.push_str("tcp = {}\n");
        }
        text
    }
}

/// The variable.
pub(super) const VARIABLE: &str = "EVENKEEL_INBOUND";

/// Where clients come in if nothing else is said: what images and charts expect, and not
/// privileged.
const USUAL_PORT: u16 = 8080;

/// How variables begin that say how the application is checked.
const PROBES: [&str; 2] = [
    "EVENKEEL__UPSTREAM__APP__HEALTH__HTTP__",
    "EVENKEEL__UPSTREAM__APP__HEALTH__GRPC__",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Made;
    use crate::config::{Nothing, load_text};

    fn read(written: &str) -> Result<(u16, u16), SidecarError> {
        let sidecar = Sidecar::new(written, &Nothing)?;
        Ok((sidecar.listen, sidecar.application))
    }

    #[test]
    fn it_is_a_port_or_two() {
        assert_eq!(read("3000"), Ok((8080, 3000)));
        assert_eq!(read("80:3000"), Ok((80, 3000)));
        let wrong = [
            "", "0", "app:3000", ":3000", "3000:", "1:2:3", "65536", " 3000", "-1", "3000/",
        ];
        for wrong in wrong {
            assert_eq!(read(wrong), Err(SidecarError::Malformed(wrong.into())));
        }
        for same in ["8080", "3000:3000"] {
            assert!(matches!(read(same), Err(SidecarError::Same(..))), "{same}");
        }
    }

    #[test]
    fn it_stands_for_a_configuration_without_doubts() {
        let with_path = Made::default()
            .with_variable("EVENKEEL__UPSTREAM__APP__HEALTH__HTTP__PATH", "/healthz");
        for environment in [&Nothing as &dyn Environment, &with_path] {
            let text = Sidecar::new("3000", environment).unwrap().text();
            let outcome = load_text(VARIABLE, &text, environment);
            assert_eq!(outcome.diagnostics, [], "{text}");
            let app = &outcome.config.unwrap().upstream["app"];
            assert!(app.health.is_some());
        }
    }
}
