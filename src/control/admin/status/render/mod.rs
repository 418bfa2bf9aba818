//! The status as one screen, for someone who was woken up: first what is wrong and why, then the
//! numbers.

use std::collections::BTreeSet;

use super::{Endpoint, Fullest, Listener, Route, Status, Upstream, Warning};

/// Draws a status. Ends with a line feed; no colours.
pub fn render(status: &Status) -> String {
    let mut screen = headline(status);
    for warning in &status.warnings {
        screen.push('\n');
        draw_warning(warning, &mut screen);
    }
    if status.warnings.is_empty() {
        screen.push_str("\neverything is as it should be\n");
    }
    let certificates = certificates(status);
    for table in [
        listeners(status),
        certificates,
        routes(status),
        upstreams(status),
    ] {
        if table.len() > 1 {
            screen.push('\n');
            draw_table(&table, &mut screen);
        }
    }
    screen
}

fn headline(status: &Status) -> String {
    let configuration = &status.configuration;
    let by = match configuration.by.as_str() {
        "" => String::new(),
        by => format!(" by {by}"),
    };
    let watched = if configuration.watched {
        ", watched"
    } else {
        ""
    };
    let mut parts = vec![format!("evenkeel {}", status.version)];
    if !status.zone.is_empty() {
        parts.push(status.zone.clone());
    }
    parts.push(format!("up {}", span(status.uptime_s)));
    let generation = configuration.generation;
    let age = span(configuration.applied_s);
    parts.push(format!(
        "configuration {generation} (applied {age} ago{by}{watched})"
    ));
    parts.join("   ") + "\n"
}

fn draw_warning(warning: &Warning, screen: &mut String) {
    let title = format!("! {}: {}", warning.about, warning.what);
    let age = warning.for_s.map(span).unwrap_or_default();
    draw_line(&format!("{title:<AGE_COLUMN$}  {age}"), screen);
    for (index, why) in warning.why.iter().enumerate() {
        let label = if index == 0 { "why" } else { "" };
        draw_line(&format!("    {label:<6}  {why}"), screen);
    }
    if !warning.effect.is_empty() {
        draw_line(&format!("    effect  {}", warning.effect), screen);
    }
}

fn listeners(status: &Status) -> Vec<Vec<String>> {
    let head = ["listener", "address", "protocol", "connections", "note"];
    let mut table = vec![row(head)];
    table.extend(status.listeners.iter().map(|listener| {
        let connections = held(listener.connections, listener.max_connections);
        row([
            &listener.name,
            &listener.address,
            &listener.protocol,
            &connections,
            &note_listener(listener),
        ])
    }));
    table
}

/// Who waits, and how near those who are connected come to their limits.
fn note_listener(listener: &Listener) -> String {
    let waiting = match listener.waiting {
        0 => None,
        waiting => Some(format!("{} waiting", grouped(waiting.into()))),
    };
    let limits = [
        ("client", &listener.per_client),
        ("network", &listener.per_subnet),
    ];
    let limits = limits.into_iter().filter_map(|(what, fullest)| {
        let fullest = fullest.as_ref()?;
        Some(note_fullest(what, fullest))
    });
    waiting
        .into_iter()
        .chain(limits)
        .collect::<Vec<_>>()
        .join(", ")
}

fn note_fullest(what: &str, fullest: &Fullest) -> String {
    let most = held(fullest.connections, fullest.limit);
    match (fullest.connections, fullest.full) {
        (0, _) => format!("{what} {most}"),
        (_, 0 | 1) => format!("{what} {} {most}", fullest.who),
        (_, full) => format!(
            "{what} {} and {} more {most}",
            fullest.who,
            grouped(full as u64 - 1)
        ),
    }
}

/// So many of so many.
fn held(now: u32, most: u32) -> String {
    format!("{} / {}", grouped(now.into()), grouped(most.into()))
}

fn certificates(status: &Status) -> Vec<Vec<String>> {
    let mut table = vec![row(["certificate", "of", "names", "valid for"])];
    table.extend(status.certificates.iter().map(|certificate| {
        let names = match certificate.names.as_slice() {
            [first, second, third, .., _] => format!("{first} {second} {third} …"),
            names => names.join(" "),
        };
        let left = u64::try_from(certificate.expires_s).map(span);
        let left = left.unwrap_or_else(|_| "expired".to_owned());
        let owner = match certificate.listener.as_str() {
            "" => format!("upstream {}", certificate.upstream),
            listener => listener.to_owned(),
        };
        row([&certificate.file, &owner, &names, &left])
    }));
    table
}

fn routes(status: &Status) -> Vec<Vec<String>> {
    // What no route took has a row only once there was such a request.
    let shown = |route: &&Route| route.action != "not_found" || route.requests > 0;
    let mut table = vec![row([
        "route",
        "listener",
        "requests",
        "retries",
        "hedges",
        "mean",
        "in flight",
    ])];
    table.extend(status.routes.iter().filter(shown).map(|route| {
        let name = if route.action == "not_found" {
            "(none)"
        } else {
            route.name.as_str()
        };
        let mean = route.mean_s.map(milliseconds).unwrap_or_default();
        row([
            name,
            &route.listener,
            &grouped(route.requests),
            &grouped(route.retries),
            &grouped(route.hedges),
            &mean,
            &of_most(route.in_flight, route.max_in_flight),
        ])
    }));
    table
}

/// A column for each zone: an outage mostly has the shape of one.
fn upstreams(status: &Status) -> Vec<Vec<String>> {
    let endpoints = status
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.endpoints);
    let mut zones: BTreeSet<&str> = endpoints.map(|endpoint| endpoint.zone.as_str()).collect();
    zones.remove("");
    let mut head = row(["upstream", "healthy"]);
    head.extend(zones.iter().map(|zone| (*zone).to_owned()));
    head.push("note".to_owned());
    let mut table = vec![head];
    for upstream in &status.upstreams {
        let all: Vec<&Endpoint> = upstream.endpoints.iter().collect();
        let mut row = vec![upstream.name.clone(), share(&all)];
        for zone in &zones {
            let here: Vec<&Endpoint> = all
                .iter()
                .copied()
                .filter(|endpoint| endpoint.zone == *zone)
                .collect();
            row.push(share(&here));
        }
        row.push(note(upstream));
        table.push(row);
    }
    table
}

fn share(endpoints: &[&Endpoint]) -> String {
    let healthy = endpoints
        .iter()
        .filter(|endpoint| endpoint.state == "healthy")
        .count();
    match endpoints.len() {
        0 => String::new(),
        all => format!("{healthy} / {all}"),
    }
}

fn note(upstream: &Upstream) -> String {
    let mut notes = Vec::new();
    if !upstream.is_checked {
        notes.push("not checked".to_owned());
    }
    if upstream.standing != "healthy" {
        notes.push(upstream.standing.clone());
    }
    let count = |wanted: &dyn Fn(&Endpoint) -> bool| {
        upstream
            .endpoints
            .iter()
            .filter(|endpoint| wanted(endpoint))
            .count()
    };
    let backing_off = count(&|endpoint| endpoint.backing_off);
    if backing_off > 0 {
        notes.push(format!(
            "{backing_off} backing off after failed connections"
        ));
    }
    let shedding = count(&|endpoint| endpoint.sheds);
    if shedding > 0 {
        notes.push(format!("{shedding} shedding load"));
    }
    let held = count(&|endpoint| endpoint.penalty > 0);
    if held > 0 {
        notes.push(format!("{held} with less traffic for its failures"));
    }
    let warming = count(&|endpoint| endpoint.weight_percent < 100);
    if warming > 0 {
        notes.push(format!("{warming} warming"));
    }
    let ejected = count(&|endpoint| matches!(endpoint.state.as_str(), "ejected" | "half_open"));
    if ejected > 0 {
        notes.push(format!("{ejected} ejected"));
    }
    if upstream.ejections_suspended {
        notes.push("none ejected: many fail at once".to_owned());
    }
    let unknown = count(&|endpoint| endpoint.state == "unknown");
    if unknown > 0 {
        notes.push(format!("{unknown} not checked yet"));
    }
    if let Some(most) = upstream.max_in_flight {
        let in_flight = of_most(upstream.in_flight.into(), Some(most));
        notes.push(format!("{in_flight} in flight"));
    }
    if upstream.waiting > 0 {
        notes.push(format!("{} waiting for room", upstream.waiting));
    }
    notes.join(", ")
}

/// A number, and what it may be at most.
fn of_most(number: i64, most: Option<u32>) -> String {
    match most {
        Some(most) => format!("{number} / {most}"),
        None => number.to_string(),
    }
}

fn draw_table(table: &[Vec<String>], screen: &mut String) {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in table {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("  {cell:<width$}"))
            .collect();
        draw_line(&cells.concat(), screen);
    }
}

fn draw_line(line: &str, screen: &mut String) {
    screen.push_str(line.trim_end());
    screen.push('\n');
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// A time as a person says it: `12d 4h`, `2h 5min`, `17min`, `40s`.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}min"),
        (0, hours, minutes) => format!("{hours}h {}min", minutes % 60),
        (days, hours, _) => format!("{days}d {}h", hours % 24),
    }
}

fn milliseconds(seconds: f64) -> String {
    let milliseconds = seconds * 1_000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1}ms")
    } else {
        format!("{milliseconds:.0}ms")
    }
}

/// Digits in groups of three: `3 410`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Where the age of a warning stands, if its title leaves room.
const AGE_COLUMN: usize = 76;

#[cfg(test)]
mod tests;
