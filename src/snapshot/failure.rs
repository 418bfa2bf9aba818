//! Why no snapshot could be made; the one in force stays.

/// Why no snapshot could be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A name that nothing has: the checks of the configuration should have said so.
    #[error("{owner} names {what} `{name}`, which does not exist")]
    Unknown {
        /// Who names it.
        owner: String,
        /// What kind of thing it should be.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A setting that its owner refuses.
    #[error("{owner}: {reason}")]
    Refused {
        /// Whose setting it is.
        owner: String,
        /// Why.
        reason: String,
    },
}

/// A setting of this owner that is refused.
pub(super) fn refused(owner: &str, reason: &str) -> BuildError {
    BuildError::Refused {
        owner: owner.to_owned(),
        reason: reason.to_owned(),
    }
}
