//! The PROXY protocol with nginx and HAProxy, where they are installed: as endpoints that are told,
//! and as proxies in front. `EVENKEEL_PEERS=required` says that they must be.

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::port::Port;
use crate::support::tls::{Authority, Hello};

/// A program that listens on ports of its own, and ends with this.
struct Other {
    child: Child,
    ports: Vec<Port>,
    files: Files,
}

impl Other {
    /// Starts it with this configuration, in which `@0`, `@1`, … stand for its ports and `%` for
    /// the folder of its files; `None` where it is not installed.
    fn start(
        program: &str,
        arguments: &[&str],
        (ports, config): (usize, &str),
        files: &[(&str, &str)],
    ) -> Option<Self> {
        let files = Files::new(files);
        let folder = files.path("");
        let folder = folder.to_string_lossy();
        let folder = folder.trim_end_matches('/');
        let ports: Vec<Port> = (0..ports).map(|_| Port::reserve()).collect();
        let mut config = config.replace("@folder", folder);
        for (at, port) in ports.iter().enumerate() {
            config = config.replace(&format!("@{at}"), &port.address().to_string());
        }
        fs::write(files.path("config"), config).expect("a writable directory");
        let log = fs::File::create(files.path("log")).expect("a writable directory");
        let path = env::var("PATH").unwrap_or_default();
        let child = Command::new(program)
            .args(arguments.iter().map(|one| one.replace("@folder", folder)))
            // Debian keeps servers where not everybody looks.
            .env("PATH", [&path, ":/usr/local/sbin:/usr/sbin"].concat())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a spare descriptor"))
            .stderr(log)
            .spawn();
        if child.is_err() {
            missing(program);
        }
        let mut other = Self {
            child: child.ok()?,
            ports,
            files,
        };
        let first = other.address(0);
        eventually(&format!("{program} listens"), || {
            if let Some(status) = other.child.try_wait().expect("our own child") {
                let log = fs::read_to_string(other.files.path("log"));
                panic!("{program} has ended with {status}: {log:?}");
            }
            TcpStream::connect(first).ok()
        });
        Some(other)
    }

    fn nginx(servers: &str) -> Option<Self> {
        let config = format!(
            "daemon off;\nmaster_process off;\npid @folder/pid;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path @folder/body;\nproxy_temp_path @folder/proxy;\n\
             fastcgi_temp_path @folder/fastcgi;\nuwsgi_temp_path @folder/uwsgi;\nscgi_temp_path @folder/scgi;\n\
             {servers}\n}}\n"
        );
        let arguments = [
            "-p",
            "@folder",
            "-c",
            "@folder/config",
            "-e",
            "@folder/error",
        ];
        Self::start("nginx", &arguments, (1, &config), &[])
    }

    fn haproxy(ports: usize, proxies: &str, files: &[(&str, &str)]) -> Option<Self> {
        let config = format!(
            "global\n  maxconn 256\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 10s\n  \
             timeout client 10s\n  timeout server 10s\n{proxies}\n"
        );
        Self::start(
            "haproxy",
            &["-db", "-f", "@folder/config"],
            (ports, &config),
            files,
        )
    }

    fn address(&self, port: usize) -> SocketAddr {
        self.ports[port].address()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test that did not run must not look as if it had"
)]
fn missing(program: &str) {
    let is_required = env::var("EVENKEEL_PEERS").is_ok_and(|value| value == "required");
    assert!(!is_required, "{program} is not installed");
    eprintln!("skipped: {program} is not installed");
}

/// A proxy whose endpoint is there and is told by this version.
fn before(address: SocketAddr, version: &str, lines: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n{lines}\n[upstream.app]\n\
         endpoints = [\"{address}\"]\nproxy_protocol = \"{version}\"\n\
         health = {{ http = {{}}, interval = \"500ms\", timeout = \"500ms\" }}\n"
    )
}

fn own(client: &Client) -> SocketAddr {
    client.stream().local_addr().expect("it is open")
}

#[test]
fn nginx_is_told_who_the_client_is() {
    let Some(nginx) = Other::nginx(
        "server { listen @0 proxy_protocol; location / { return 200 \
         \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr \
         $proxy_protocol_server_port\"; } }",
    ) else {
        return;
    };
    for version in ["v1", "v2"] {
        let proxy = Evenkeel::start(&before(nginx.address(0), version, ""));
        let address = nginx.address(0).to_string();
        eventually("the health check takes its answer", || {
            (proxy.endpoint("app", &address)["state"] == "healthy").then_some(())
        });
        for _ in 0..2 {
            let mut client = proxy.client();
            for _ in 0..2 {
                let (from, to) = (own(&client), proxy.address("web"));
                let expected = format!("{} {} {} {}", from.ip(), from.port(), to.ip(), to.port());
                assert_eq!(client.get("/").body.text(), expected, "{version}");
            }
        }
    }
}

/// What HAProxy says of a connection that it was told of.
const TELLS: &str = "http-request return status 200 content-type text/plain lf-string \
     \"%[src]:%[src_port] %[dst]:%[dst_port] %[fc_rcvd_proxy] <%[fc_pp_authority]> \
     <%[fc_pp_unique_id]>\"";

#[test]
fn haproxy_is_told_of_authority_and_id() {
    let authority = Authority::new();
    let certified = authority.certify(&["own.test"]);
    let pem = [&*certified.cert, &*certified.key].concat();
    let proxies = format!(
        "frontend plain\n  bind @0 accept-proxy\n  {TELLS}\n\
         frontend secure\n  bind @1 accept-proxy ssl crt @folder/own.pem alpn h2,http/1.1\n  {TELLS}\n"
    );
    let Some(haproxy) = Other::haproxy(2, &proxies, &[("own.pem", &pem)]) else {
        return;
    };
    let files = certified.files("a");
    let tls = "tls = { certificates = [{ cert = \"a.pem\", key = \"a.key\" }] }";
    let upstream_tls = "tls = { insecure_skip_verify = true }\nprotocol = \"auto\"\n";
    for (port, more) in [(0, ""), (1, upstream_tls)] {
        let address = haproxy.address(port);
        let text = [&before(address, "v2", tls), more].concat();
        let proxy = Evenkeel::start_among(&files, &text);
        let hello = Hello::to("own.test", &authority);
        let mut client = hello.begin(proxy.address("web"));
        let own = client.stream().sock.local_addr().expect("it is open");
        let response = client.get("/");
        let said = response.body.text();
        let start = format!("{own} {} 1 <own.test> <", proxy.address("web"));
        assert!(said.starts_with(&start), "{said} is not {start}");
        let id = said[start.len()..].trim_end_matches('>').to_owned();
        assert_eq!(id.len(), 32, "{said}");
        let mut h2 = H2::begin(&hello, proxy.address("web"));
        let said = h2.get("/").text();
        let own = h2.stream().sock.local_addr().expect("it is open");
        assert!(said.starts_with(&own.to_string()), "{said}");
    }
    // Version 1 tells of addresses alone.
    let proxy = Evenkeel::start(&before(haproxy.address(0), "v1", ""));
    let mut client = proxy.client();
    let expected = format!("{} {} 1 <> <>", own(&client), proxy.address("web"));
    assert_eq!(client.get("/").body.text(), expected);
}

#[test]
fn haproxy_in_front_is_believed() {
    let endpoint = Endpoint::echo();
    let reserved = [Port::reserve(), Port::reserve()];
    let listener = |name: &str, port: &Port| {
        format!(
            "[listener.{name}]\nbind = \"{}\"\nupstream = \"app\"\nproxy_protocol = \"required\"\n\
             trusted_proxies = [\"127.0.0.0/8\"]\n",
            port.address()
        )
    };
    let text = [
        listener("web", &reserved[0]),
        listener("other", &reserved[1]),
        format!("[upstream.app]\nendpoints = [\"{}\"]\n", endpoint.address()),
    ];
    let proxy = Evenkeel::start(&text.concat());
    let [one, two] = [0, 1].map(|at: usize| reserved[at].address());
    let proxies = format!(
        "frontend one\n  bind @0\n  default_backend one\n\
         backend one\n  server s {one} send-proxy-v2 proxy-v2-options unique-id,crc32c,ssl \
         check inter 100ms\n\
         frontend two\n  bind @1\n  default_backend two\n\
         backend two\n  server s {two} send-proxy check inter 100ms\n"
    );
    let Some(haproxy) = Other::haproxy(2, &proxies, &[]) else {
        return;
    };
    for port in [0, 1] {
        let mut client = Client::connect(haproxy.address(port));
        assert_eq!(client.get("/").status, 200);
        let requests = endpoint.requests();
        let head = &requests.last().expect("a request").head;
        assert_eq!(head.value("x-forwarded-for"), Some("127.0.0.1"));
    }
    let count = |listener: &str, result: &str| {
        let labels = [
            format!("listener=\"{listener}\""),
            format!("result=\"{result}\""),
        ];
        proxy.metric(
            "evenkeel_proxy_headers_total",
            &labels.each_ref().map(String::as_str),
        )
    };
    eventually("its checks come for themselves", || {
        (count("web", "local") > 1).then_some(())
    });
    assert_eq!((count("web", "v2"), count("web", "malformed")), (1, 0));
    assert!(count("other", "v1") >= 1);
    assert_eq!(count("other", "malformed"), 0);
}

#[test]
fn haproxy_in_front_may_have_ended_tls() {
    let endpoint = Endpoint::echo();
    let reserved = Port::reserve();
    let _proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"{}\"\nproxy_protocol = \"required\"\nredirect_to_https = true\n\
         trusted_proxies = [\"127.0.0.0/8\"]\n[route.all]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        reserved.address(),
        endpoint.address()
    ));
    let authority = Authority::new();
    let certified = authority.certify(&["own.test"]);
    let pem = [&*certified.cert, &*certified.key].concat();
    let server = format!("server s {}", reserved.address());
    let proxies = format!(
        "frontend secure\n  mode tcp\n  bind @0 ssl crt @folder/own.pem\n  default_backend tls\n\
         backend tls\n  mode tcp\n  {server} send-proxy-v2-ssl\n\
         frontend plain\n  mode tcp\n  bind @1\n  default_backend open\n\
         backend open\n  mode tcp\n  {server} send-proxy-v2-ssl\n"
    );
    let Some(haproxy) = Other::haproxy(2, &proxies, &[("own.pem", &pem)]) else {
        return;
    };
    let mut client = Hello::to("own.test", &authority).begin(haproxy.address(0));
    assert_eq!(client.get("/").status, 200);
    let requests = endpoint.requests();
    let head = &requests.last().expect("a request").head;
    assert_eq!(head.value("x-forwarded-proto"), Some("https"));
    let mut client = Client::connect(haproxy.address(1));
    assert_eq!(client.get("/").status, 308);
}
