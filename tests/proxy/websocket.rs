//! WebSockets as others speak them, over both versions: see `websocket_peer.py`.

use rustix::process::Signal;

use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;
use crate::support::websocket::{WebSocketPeer, is_there};

/// How a client comes: over HTTP/1.1, and over HTTP/2.
const KINDS: [&[&str]; 2] = [&[], &["--h2"]];

fn config(to: std::net::SocketAddr, lines: &str) -> String {
    format!(
        "[shutdown]\ngrace = \"0s\"\ndrain = \"1s\"\n\
         [listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\", \"http/1.1\"]\n\
         http2 = {{ websocket = true }}\n\
         [route.all]\nupstream = \"app\"\n[upstream.app]\nendpoints = [\"{to}\"]\n{lines}"
    )
}

#[test]
fn messages_pass_and_either_side_closes() {
    if !is_there() {
        return;
    }
    let (mut server, address) = WebSocketPeer::serve();
    let proxy = Evenkeel::start(&config(address, ""));
    for kind in KINDS {
        for (end, code) in [("close", "1000"), ("end", "4001")] {
            let mut client = WebSocketPeer::talk(proxy.address("web"), kind);
            assert_eq!(client.ask("say hello"), "said hello", "{kind:?}");
            assert_eq!(client.ask("large"), "large True", "{kind:?}");
            assert_eq!(client.ask("ping"), "ping True", "{kind:?}");
            assert_eq!(client.ask(end), format!("closed {code}"), "{kind:?}");
            assert_eq!(server.line(), format!("closed {code}"), "{kind:?}");
        }
    }
}

#[test]
fn reloads_are_not_noticed() {
    if !is_there() {
        return;
    }
    let (_server, address) = WebSocketPeer::serve();
    let mut proxy = Evenkeel::start(&config(address, ""));
    let mut clients = KINDS.map(|kind| WebSocketPeer::talk(proxy.address("web"), kind));
    for round in 0..5 {
        let before = proxy.generation();
        let lines =
            format!("[route.r{round}]\npath = \"/{round}\"\nrespond = {{ status = 204 }}\n");
        proxy.write_config(&config(address, &lines));
        proxy.signal(Signal::HUP);
        for client in &mut clients {
            assert_eq!(client.ask("say between"), "said between");
        }
        eventually("the reload is taken", || {
            (proxy.generation() > before).then_some(())
        });
        for client in &mut clients {
            assert_eq!(client.ask("large"), "large True");
        }
    }
    for client in &mut clients {
        assert_eq!(client.ask("close"), "closed 1000");
    }
}
