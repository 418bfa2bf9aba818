//! What the demo writes: its configuration file, and the page of things to try.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::endpoints::Sample;
use crate::cli::{Output, Paint};

/// The facts of one demo.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) port: u16,
    pub(super) admin_port: u16,
    pub(super) home: &'a Path,
    pub(super) samples: &'a [Sample],
    pub(super) switchboard: SocketAddr,
    /// How this program was called.
    pub(super) program: String,
}

impl Story<'_> {
    /// Where the configuration is.
    pub(super) fn config_file(&self) -> PathBuf {
        self.home.join("evenkeel.toml")
    }

    fn socket(&self) -> PathBuf {
        self.home.join("admin.sock")
    }

    /// The configuration file's text.
    pub(super) fn config(&self) -> String {
        let Self {
            port, admin_port, ..
        } = self;
        let socket = self.socket();
        let log = self.home.join("evenkeel.log");
        let (socket, log) = (socket.display(), log.display());
        let switchboard = self.switchboard;
        let mut parts = vec![format!(
            r#"# The configuration of a running demo. Change it, save it, and reload.

zone = "eu-1a"                  # where this instance stands

[admin]
socket = "{socket}"
http = "127.0.0.1:{admin_port}"

[log]
output = "{log}"

[shutdown]
grace = "0s"                    # nobody has to learn that a demo ends
drain = "2s"

[listener.web]
bind = "127.0.0.1:{port}"

[route.shop]
upstream = "shop"
# Two is the default. Here three of four endpoints may be stopped at once.
retry = {{ attempts = 4 }}

# Take the `#` off the next three lines, save and reload: a route of its own, no request lost.
#[route.hello]
#path = "/hello"
#respond = {{ body = "hello from the configuration\n" }}

[upstream.shop]
balance = "round_robin"

"#
        )];
        for (zone, samples) in self.zones() {
            let addresses: Vec<String> = samples
                .iter()
                .map(|sample| format!("\"{}\"", sample.address))
                .collect();
            let addresses = addresses.join(", ");
            parts.push(format!(
                "[upstream.shop.zone.{zone}]\nendpoints = [{addresses}]\n\n"
            ));
        }
        parts.push(format!(
            r#"[upstream.shop.health]
http = {{ path = "/healthz", status = [200] }}
interval = "500ms"
timeout = "250ms"

# Stops and starts the sample endpoints.
[route.switch]
path = "/-/"
upstream = "switch"

[upstream.switch]
endpoints = ["{switchboard}"]

# What must hold, or the file is refused.
[[test]]
request = "GET http://localhost:{port}/"
expect = {{ route = "shop", upstream = "shop" }}
"#
        ));
        parts.concat()
    }

    /// The page that the demo starts with.
    pub(super) fn opening(&self, output: &Output) -> String {
        let Self { port, program, .. } = self;
        let url = format!("http://127.0.0.1:{port}");
        let file = self.config_file();
        let file = file.display();
        let mut page = Vec::new();
        let title = output.paint(Paint::Strong, "Evenkeel");
        page.push(format!(
            "\n{title}  {url}  balances four sample endpoints in two zones\n\n"
        ));
        for (zone, samples) in self.zones() {
            let samples: Vec<String> = samples
                .iter()
                .map(|sample| format!("{} {}", sample.name, sample.address))
                .collect();
            page.push(format!("    {zone}   {}\n", samples.join("   ")));
        }
        page.push("\nTry in another terminal:\n".to_owned());
        let status = format!("{program} status -c {file}");
        let reload = format!("{program} reload -c {file}");
        let metrics = format!("curl -s http://127.0.0.1:{}/metrics", self.admin_port);
        let hangup = format!("kill -HUP {}", std::process::id());
        let steps: [(&str, &[&str]); 5] = [
            (
                "Send some requests, and see them balanced",
                &[&format!(
                    "for i in 1 2 3 4 5 6 7 8; do curl -s {url}/; done"
                )],
            ),
            (
                "Kill an endpoint, or a whole zone; send requests again: none fails",
                &[
                    &format!("curl -X POST {url}/-/stop/a1"),
                    &format!("curl -X POST {url}/-/stop/eu-1b"),
                    &format!("curl -X POST {url}/-/start/eu-1b"),
                ],
            ),
            (
                "Change the configuration under traffic: take out an endpoint, add a route",
                &[&format!("$EDITOR {file}"), &reload, &hangup],
            ),
            (
                "Break the configuration: it is refused with place, reason and patch",
                &[&format!("sed -i 's/^balance/balnce/' {file}"), &reload],
            ),
            ("Look at it", &[&status, &metrics]),
        ];
        for (number, (what, commands)) in steps.iter().enumerate() {
            page.push(format!("\n {}  {what}\n", number + 1));
            for command in *commands {
                page.push(format!("      {}\n", output.paint(Paint::Strong, command)));
            }
        }
        page.push("\nWhat happens is told here. Ctrl-C ends it.\n\n".to_owned());
        page.concat()
    }

    /// The samples by zone.
    fn zones(&self) -> impl Iterator<Item = (&str, &[Sample])> {
        self.samples
            .chunk_by(|one, other| one.zone == other.zone)
            .filter_map(|zone| Some((zone.first()?.zone, zone)))
    }
}
