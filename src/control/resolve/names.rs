//! One name's addresses, as the system's resolver knows them.
//!
//! `getaddrinfo` of glibc asks whom `nsswitch.conf` names, by loading their libraries. A static
//! program may not do that: the libraries bring a second C library along, of whatever version the
//! machine has, and such a process crashes where the two differ. What it has within itself are
//! `/etc/hosts` and DNS by `/etc/resolv.conf`, so a static build asks these two and no other.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

/// `/etc/hosts`, DNS, and, in a program that is not static, what else `nsswitch.conf` names.
pub(super) fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    within::load_nothing();
    let addresses = (host, 0).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
mod within {
    use std::ffi::{c_char, c_int};
    use std::sync::Once;

    #[expect(unsafe_code, reason = "glibc has it, and `libc` and `rustix` do not")]
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }

    /// Says once, instead of `nsswitch.conf`, who is asked for hosts: who is built in.
    #[expect(unsafe_code, reason = "a call of the C library")]
    pub(super) fn load_nothing() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: both are strings that end with NUL and live on. It copies them, under a lock
            // of its own, before the first look-up, since every look-up passes here. It can only
            // fail for lack of memory, and then all is as if it had not been called.
            unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
        });
    }
}
