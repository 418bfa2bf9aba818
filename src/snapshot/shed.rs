//! Why requests are turned away, as it is counted.

/// Why a request is turned away although nothing is wrong with it, nor with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Every endpoint is at its limit.
    Overload,
    /// The instance ends before the request has.
    Draining,
}

impl Shed {
    /// In the order of their declaration, which is the order of their counters.
    pub(super) const ALL: [Self; 2] = [Self::Overload, Self::Draining];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Draining => "draining",
        }
    }
}
