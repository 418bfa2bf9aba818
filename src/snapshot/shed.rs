//! Why requests are turned away, as it is counted.

/// Why a request is turned away although nothing is wrong with it, nor with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Every endpoint is at its limit.
    Overload,
    /// As many requests of its route are under way as may be.
    Concurrency,
    /// As many requests wait for an endpoint as may.
    QueueFull,
    /// It has waited for one in vain.
    QueueTimeout,
    /// The instance ends before the request has.
    Draining,
}

impl Shed {
    /// In the order of their declaration, which is the order of their counters.
    pub(super) const ALL: [Self; 5] = [
        Self::Overload,
        Self::Concurrency,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::Draining,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Concurrency => "concurrency",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Draining => "draining",
        }
    }
}
