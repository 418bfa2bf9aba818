//! Settings of the kernel that decide how many connections it lets come and go.

use std::fs;

use super::{Finding, Subject, number};

/// Looks at those that matter.
pub(super) fn check(_: &Subject) -> Vec<Finding> {
    let mut findings: Vec<Finding> = [
        at_least(
            "net.core.somaxconn",
            4_096,
            "connections that wait to be accepted are dropped beyond it",
        ),
        at_least(
            "net.ipv4.tcp_max_syn_backlog",
            1_024,
            "connections that begin are dropped beyond it",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.extend(local_ports());
    findings.extend(time_wait());
    findings.extend(conntrack());
    if findings.is_empty() {
        let remedy = "nothing, in a container whose /proc/sys is hidden; look on the host";
        findings.push(Finding::warn(CHECK, "no sysctl can be read", remedy));
    }
    findings
}

fn at_least(name: &str, least: u64, why: &str) -> Option<Finding> {
    let value = number(&path(name))?;
    Some(if value < least {
        let remedy = format!("sysctl -w {name}={least}, and in /etc/sysctl.d to last");
        Finding::warn(CHECK, format!("{name} is {value}: {why}"), remedy)
    } else {
        Finding::ok(CHECK, format!("{name} is {value}"))
    })
}

fn local_ports() -> Option<Finding> {
    let name = "net.ipv4.ip_local_port_range";
    let text = fs::read_to_string(path(name)).ok()?;
    let mut ends = text
        .split_whitespace()
        .filter_map(|end| end.parse::<u64>().ok());
    let (first, last) = (ends.next()?, ends.next()?);
    let ports = (last + 1).saturating_sub(first);
    let what = format!("{name} is {first} to {last}: {ports} connections to each endpoint at once");
    Some(if ports < PORTS {
        let remedy = format!("sysctl -w {name}=\"15000 64999\", and in /etc/sysctl.d to last");
        Finding::warn(CHECK, what, remedy)
    } else {
        Finding::ok(CHECK, what)
    })
}

fn time_wait() -> Option<Finding> {
    let name = "net.ipv4.tcp_tw_reuse";
    Some(match number(&path(name))? {
        0 => Finding::warn(
            CHECK,
            format!("{name} is 0: a port of a closed connection is not used again for a minute"),
            format!("sysctl -w {name}=1, and in /etc/sysctl.d to last"),
        ),
        value => Finding::ok(CHECK, format!("{name} is {value}")),
    })
}

fn conntrack() -> Option<Finding> {
    let count = number("/proc/sys/net/netfilter/nf_conntrack_count")?;
    let most = number("/proc/sys/net/netfilter/nf_conntrack_max")?;
    let what = format!("the firewall tracks {count} connections of {most} that it can");
    let remedy = "sysctl -w net.netfilter.nf_conntrack_max=…, or do not track the proxy's ports";
    Some(if count * 20 >= most * 19 {
        Finding::bad(CHECK, format!("{what}: it drops new ones"), remedy)
    } else if count * 5 >= most * 4 {
        Finding::warn(CHECK, what, remedy)
    } else {
        Finding::ok(CHECK, what)
    })
}

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

const CHECK: &str = "sysctls";

/// What Linux has by default.
const PORTS: u64 = 28_000;
