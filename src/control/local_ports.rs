//! Whether the machine has a local port for each UDP session that is allowed.
//!
//! A session has a socket of its own, and the kernel gives each a port that nobody else has, to
//! whatever endpoint it leads. Where listeners allow more sessions than there are ports, the last
//! of them get none, and their datagrams are dropped: that should be known before.

use crate::config::Config;

/// What to say of the UDP listeners, by what the kernel says of its ports (`ip_local_port_range`).
pub(super) fn doubt(config: &Config, range: &str) -> Option<String> {
    let mut bounds = range.split_ascii_whitespace();
    let mut bound = || bounds.next()?.parse::<u64>().ok();
    let (first, last) = (bound()?, bound()?);
    let ports = last.checked_sub(first)? + 1;
    let udp = config.listener.values().filter(|one| one.is_udp());
    let most = udp.map(|one| u64::from(one.max_connections.unwrap_or(MAX_CONNECTIONS)));
    let sessions: u64 = most.sum();
    (sessions > ports).then(|| {
        format!(
            "UDP listeners allow {sessions} sessions together, and there are {ports} local ports \
             for them: lower `max_connections`, or widen net.ipv4.ip_local_port_range"
        )
    })
}

/// The range as the kernel has it; empty where it does not say.
pub(super) fn range() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default()
}

/// What a listener allows that does not say.
const MAX_CONNECTIONS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::doubt;
    use crate::config::{Config, System, load_text};

    fn config(text: &str) -> Config {
        let outcome = load_text("evenkeel.toml", text, &System);
        outcome.config.expect("it is right")
    }

    #[test]
    fn more_sessions_than_ports_are_told() {
        let listener = |name: &str, port: u16, lines: &str| {
            format!("[listener.{name}]\nbind = \":{port}\"\nto = [\"10.0.0.1:53\"]\n{lines}\n")
        };
        let udp = "protocols = [\"udp\"]";
        let two = [listener("a", 53, udp), listener("b", 54, udp)].concat();
        let text = |listeners: &str| format!("version = 1\n{listeners}");
        let usual = "32768\t60999\n";
        assert_eq!(doubt(&config(&text(&two)), usual), None);
        let more = "protocols = [\"udp\"]\nmax_connections = 8_233";
        let three = [two.as_str(), &listener("c", 55, more)].concat();
        let told = doubt(&config(&text(&three)), usual).expect("28233 of 28232");
        assert!(told.contains("28233") && told.contains("28232"), "{told}");
        assert_eq!(doubt(&config(&text(&three)), "1024 65535"), None);
        assert_eq!(doubt(&config(&text(&three)), ""), None, "not known");
        let of_tcp = listener("d", 56, "protocols = [\"tcp\"]\nmax_connections = 90_000");
        assert_eq!(doubt(&config(&text(&of_tcp)), usual), None);
    }
}
