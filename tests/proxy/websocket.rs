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
        for (end, code) in [
            ("close", "1000"),
            ("close 1001 going away", "1001 going away"),
            ("close 3000", "3000"),
            ("close 4999 too süß", "4999 too süß"),
            ("end", "4001 bye"),
            ("end 1009 too big", "1009 too big"),
            ("end 1013", "1013"),
        ] {
            let mut client = WebSocketPeer::talk(proxy.address("web"), kind);
            assert_eq!(client.ask("say hello"), "said hello", "{kind:?}");
            if end == "close" {
                assert_eq!(client.ask("large"), "large True", "{kind:?}");
                assert_eq!(client.ask("ping"), "ping True", "{kind:?}");
                assert_eq!(client.ask("pinged"), "pinged pong True", "{kind:?}");
            }
            assert_eq!(client.ask(end), format!("closed {code}"), "{kind:?}");
            assert_eq!(server.line(), format!("closed {code}"), "{kind:?}");
        }
    }
}

/// What the ends agree on is theirs (RFC 7692): frames are compressed by one and read by the other.
#[test]
fn compression_is_agreed_on_between_the_ends() {
    if !is_there() {
        return;
    }
    let (_server, address) = WebSocketPeer::serve();
    let proxy = Evenkeel::start(&config(address, ""));
    for kind in KINDS {
        let mut client = WebSocketPeer::talk(proxy.address("web"), kind);
        let agreed = client.ask("extensions");
        assert!(
            agreed.starts_with("extensions permessage-deflate"),
            "{kind:?} {agreed}"
        );
        // The second time they refer to the first.
        for _ in 0..2 {
            assert_eq!(client.ask("large"), "large True", "{kind:?}");
        }
        assert_eq!(client.ask("close"), "closed 1000", "{kind:?}");
        let plain = [kind, &["--plain"]].concat();
        let mut client = WebSocketPeer::talk(proxy.address("web"), &plain);
        assert_eq!(client.ask("extensions"), "extensions None", "{kind:?}");
        assert_eq!(client.ask("large"), "large True", "{kind:?}");
    }
}

#[test]
fn large_messages_pass_in_fragments() {
    if !is_there() {
        return;
    }
    let (_server, address) = WebSocketPeer::serve();
    let proxy = Evenkeel::start(&config(address, ""));
    let (old, new) = (&["--plain"][..], &["--h2"][..]);
    for kind in [old, new] {
        let mut client = WebSocketPeer::talk(proxy.address("web"), kind);
        assert_eq!(client.ask("fragments"), "fragments True", "{kind:?}");
        assert_eq!(client.ask("close"), "closed 1000", "{kind:?}");
    }
}

#[test]
fn a_drain_waits_for_them_and_cuts_what_does_not_end() {
    if !is_there() {
        return;
    }
    let (_server, address) = WebSocketPeer::serve();
    let text = config(address, "");
    // As long as it takes, if nothing is left that does not end.
    let patient = text.replace("drain = \"1s\"", "drain = \"60s\"");
    for (text, is_cut) in [(patient, false), (text, true)] {
        let mut proxy = Evenkeel::start(&text);
        let mut client = WebSocketPeer::talk(proxy.address("web"), &[]);
        proxy.signal(Signal::TERM);
        eventually("it drains", || {
            proxy.log().contains("draining").then_some(())
        });
        if !is_cut {
            assert_eq!(client.ask("say on"), "said on");
            assert_eq!(client.ask("large"), "large True");
            assert_eq!(client.ask("close 1001 gone"), "closed 1001 gone");
        }
        assert!(proxy.wait_for_exit().success());
        assert_eq!(proxy.log().contains("nothing was cut"), !is_cut);
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
