//! nginx and HAProxy as processes of ours.
//!
//! They listen on Unix sockets in a temporary folder, and reach the endpoint by another: ports
//! would run out, since each closed connection keeps one for a minute. `setpriv` has the kernel end
//! them with us, however we end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::endpoint::Endpoint;

/// A proxy of another make.
#[derive(Debug)]
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    /// The endpoint behind it.
    pub endpoint: Endpoint,
    socket: PathBuf,
    child: Child,
}

/// A temporary folder, removed with everything in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

/// How to run one.
#[derive(Debug, Clone, Copy)]
pub struct Make {
    name: &'static str,
    /// Its configuration; `%` stands for the folder.
    config: &'static str,
    /// What it is started with; `%` stands for the folder.
    arguments: &'static [&'static str],
}

impl Peer {
    /// Starts a proxy and waits until it listens. Must be called within the runtime.
    pub async fn start(make: Make, folder: &Folder) -> io::Result<Self> {
        let fill = |text: &str| text.replace('%', &folder.0.to_string_lossy());
        let endpoint = Endpoint::bind_at(&folder.0.join(format!("{}-endpoint", make.name)))?;
        fs::write(folder.0.join(make.name), fill(make.config))?;
        let log = fs::File::create(folder.0.join(format!("{}.log", make.name)))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", make.name])
            .args(make.arguments.iter().copied().map(fill))
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut peer = Self {
            name: make.name,
            endpoint,
            socket: folder.0.join(format!("{}-listener", make.name)),
            child,
        };
        for _ in 0..STARTING {
            if peer.connect().await.is_ok() {
                return Ok(peer);
            }
            if let Some(status) = peer.child.try_wait()? {
                return Err(io::Error::other(format!(
                    "{} has ended: {status}",
                    make.name
                )));
            }
            sleep(STEP).await;
        }
        Err(io::Error::other(format!("{} does not listen", make.name)))
    }

    /// Opens a connection to it.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.socket).await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Either it runs, or it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Folder {
    /// An empty folder, which only this process uses.
    pub fn new() -> io::Result<Self> {
        remove_abandoned(&std::env::temp_dir())?;
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Where programs are. Debian keeps servers where not everybody looks.
pub fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    [&path, ":/usr/local/sbin:/usr/sbin"].concat()
}

/// Removes the folders of processes that have been killed.
fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(id) = name.strip_prefix(PREFIX)
            && !Path::new("/proc").join(id).exists()
        {
            drop(fs::remove_dir_all(&path));
        }
    }
    Ok(())
}

/// nginx, with a connection of its own for each request, so that none is left from another run.
pub const NGINX: Make = Make {
    name: "nginx",
    config: "
daemon off;
master_process off;
pid %/nginx.pid;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path %/nginx-body;
    proxy_temp_path %/nginx-proxy;
    fastcgi_temp_path %/nginx-fastcgi;
    uwsgi_temp_path %/nginx-uwsgi;
    scgi_temp_path %/nginx-scgi;
    # It does not wait for a client that has nothing more to say.
    lingering_close off;
    server {
        listen unix:%/nginx-listener;
        location / {
            proxy_pass http://unix:%/nginx-endpoint:;
            proxy_http_version 1.1;
            proxy_next_upstream off;
            # The client ends its side as soon as it has asked.
            proxy_ignore_client_abort on;
        }
    }
}
",
    arguments: &["-p", "%", "-c", "%/nginx", "-e", "%/nginx.log"],
};

/// HAProxy, likewise.
pub const HAPROXY: Make = Make {
    name: "haproxy",
    config: "
global
    maxconn 256
    nbthread 1
defaults
    mode http
    retries 0
    timeout connect 10s
    timeout client 10s
    timeout server 10s
    option http-server-close
frontend web
    bind unix@%/haproxy-listener
    default_backend endpoint
backend endpoint
    server endpoint unix@%/haproxy-endpoint
",
    arguments: &["-db", "-f", "%/haproxy"],
};

/// How the folders are called, up to the id of the process.
const PREFIX: &str = "evenkeel-fuzz-";

/// How often a proxy that starts is asked whether it listens: ten seconds in all.
const STARTING: u32 = 500;

/// The pause in between.
const STEP: Duration = Duration::from_millis(20);
