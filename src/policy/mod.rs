//! What is done to requests and responses on their way: THE order, and each step's reason.
//!
//! A *filter* edits or refuses a head and is a plain function; a *layer* wraps the call. Their
//! order is part of what a configuration means, so it stands here and nowhere else.
//!
//! A request, from the client to the endpoint:
//!
//! 1. Fields between neighbours (`Connection` and all that it names) are gone before anything here
//!    runs: the parser of `http1` leaves them out. *So nothing that is added below can be taken
//!    away by a client that names it in `Connection` (RFC 9110 §7.6.1).*
//! 2. [`forwarding`]: who asks, and the request id. *First, so that whatever is answered or logged
//!    from here on carries both, and so that routes see no spoofed field.*
//! 3. A request for a host whose clients are asked for another certificate is refused. *Before the
//!    route, which may lean on that certificate, and behind who asks, who is told the id.*
//! 4. The route is found. *Before anything is refused, so that what is refused is counted and
//!    logged under its route. Nothing of it acts yet.*
//! 5. A path that servers read differently is refused (`route::path::is_ambiguous`). *Before the
//!    route acts: it was found by one of the readings.*
//! 6. TRACE is refused, and CONNECT unless the route says otherwise. *Before the steps that answer
//!    them.*
//! 7. [`max_forwards`]: OPTIONS that goes no further is answered. *Before the action: it asks about
//!    the path to a resource, not for the resource.*
//! 8. How much time the client gives is read ([`deadline`], `grpc-timeout`); what has none left is
//!    answered. *Before an endpoint works in vain.*
//! 9. [`Via`]: a request that has been here is refused. *Behind the count of hops, which ends a
//!    loop that was asked for politely.*
//! 10. [`Redirect`] and [`Fixed`] answer here. *With the target as it came: `Location` is for the
//!     client, which does not know rewritten paths.*
//! 11. [`Filters::request`]: the rewrite, then the edits of fields (remove, set, add). *Edits last,
//!     so that what a person wrote about a field is what the endpoint gets.*
//! 12. A request of HTTP/1.0 without a `Host` gets the address that it came to. *Behind the edits,
//!     which may have named one, and never in what a client is told: it may be an inner address.*
//! 13. [`Affinity`]: what ties the request to an endpoint is read, and the cookie of a tie taken
//!     out. *Behind rewrites and edits, so that a key is what the endpoint sees; before the pick,
//!     which goes by it; once, so that each attempt has the same.*
//! 14. The layers, from the outside to the inside: the request's total time limit, then [`retry`],
//!     then [`HedgePolicy`], then the limit of one attempt, then pick, limits and connection. *A
//!     retry inside the total limit cannot outlive it; outside a hedge it follows only where both
//!     attempts failed; outside the limit of one attempt it gets a fresh one each time; outside the
//!     pick it can go elsewhere.*
//!
//! A response, from the endpoint to the client: fields between neighbours are gone, [`Via`] is
//! added, then the cookie of a tie, then [`Filters::response`]. *The edits last, for the same
//! reason.* What a route answers itself passes [`Filters::response`] too; an error of ours passes
//! none of these. Behind them, whatever leaves over TLS gets [`Hsts`]. *What a browser remembers
//! holds for the whole name, so no endpoint, no route and no error may tell it otherwise.*

mod affinity;
pub mod deadline;
mod fields;
mod filters;
mod fixed;
pub mod forwarding;
pub mod grpc;
mod hedge;
mod hsts;
pub mod list;
mod max_forwards;
mod redirect;
pub mod retry;
mod rewrite;
mod via;

pub use self::affinity::{Affinity, HashBy};
pub use self::deadline::DeadlineField;
pub use self::fields::EditError;
pub use self::filters::{FilterError, Filters};
pub use self::fixed::{Fixed, FixedError};
pub use self::forwarding::{Arrival, Forwarding, Identity, RequestId, tell_certificate};
pub use self::hedge::HedgePolicy;
pub use self::hsts::Hsts;
pub use self::max_forwards::{MaxForwards, max_forwards};
pub use self::redirect::{Redirect, RedirectError, Target};
pub use self::retry::RetryPolicy;
pub use self::rewrite::{RewriteError, TooLong};
pub use self::via::{LoopDetected, Via};

#[cfg(test)]
mod tests;
