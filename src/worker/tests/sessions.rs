//! What a session keeps, when it goes elsewhere, and what is learned by its end.

use super::*;
use crate::endpoint::Endpoint;
use crate::net::Listening;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// An endpoint that ends each connection at once, or once the client has finished.
async fn silent_end(at_once: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if !at_once {
                drop(stream.read_to_end(&mut Vec::new()).await);
            }
        }
    });
    address
}

fn endpoint(rig: &Rig) -> Arc<Endpoint> {
    Arc::clone(&rig.handle.load().upstreams["u"].endpoints()[0])
}

async fn ends_well(rig: &Rig, sockets: &Sockets, said: &[u8]) {
    let ended = "evenkeel_l4_sessions_total{listener=\"l\",upstream=\"u\",result=\"ok\"}";
    let before = rig.metric(ended);
    let mut client = connect(sockets).await;
    client.write_all(said).await.expect("write");
    client.shutdown().await.expect("shutdown");
    assert_eq!(client.read_to_end(&mut Vec::new()).await.ok(), Some(0));
    eventually("the end of the session", || rig.metric(ended) == before + 1).await;
}

#[tokio::test]
async fn a_session_does_not_keep_the_upstreams_of_its_first_day() {
    let sockets = bound(1);
    let address = echo().await;
    let listeners = [("l", Arc::clone(&sockets), 100)];
    let rig = Rig::start(1, &listeners, &[address]);
    let (mut clients, mut upstreams) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let mut client = connect(&sockets).await;
        assert!(echoes(&mut client).await);
        clients.push(client);
        upstreams.push(Arc::downgrade(&rig.handle.load().upstreams["u"]));
        rig.reload(&listeners, &[address]);
    }
    // Who comes has the worker look at what is in force.
    assert!(echoes(&mut connect(&sockets).await).await);
    eventually("the end of what was", || {
        upstreams
            .iter()
            .all(|upstream| upstream.upgrade().is_none())
    })
    .await;
    for mut client in clients {
        assert!(echoes(&mut client).await, "it goes on");
    }
    drop(rig.end());
}

#[tokio::test]
async fn who_waits_for_an_endpoint_at_the_end_of_a_drain_is_reset() {
    let sockets = bound(1);
    let silent = silent();
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &[silent.address]);
    let client = connect(&sockets).await;
    let live = "evenkeel_l4_sessions{listener=\"l\",upstream=\"u\"}";
    eventually("the session", || rig.metric(live) == 1).await;
    drop(rig.end());
    assert!(
        is_reset(client).await,
        "as if the service had nothing to say"
    );
}

#[tokio::test]
async fn an_endpoint_that_ends_without_a_word_has_proved_nothing() {
    let sockets = bound(1);
    let address = silent_end(true).await;
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &[address]);
    let endpoint = endpoint(&rig);
    let later = Instant::now() + LONG;
    endpoint.live.died_unanswered(later);
    ends_well(&rig, &sockets, b"").await;
    assert!(endpoint.live.is_backing_off(Instant::now()));
    drop(rig.end());
}

#[tokio::test]
async fn an_endpoint_that_takes_all_without_a_word_is_well() {
    let sockets = bound(1);
    let address = silent_end(false).await;
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &[address]);
    let endpoint = endpoint(&rig);
    let later = Instant::now() + LONG;
    endpoint.live.died_unanswered(later);
    ends_well(&rig, &sockets, b"a line of a log").await;
    assert!(!endpoint.live.is_backing_off(Instant::now()));
    drop(rig.end());
}

/// An endpoint of UDP that answers with its port.
async fn tells_its_port() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("address");
    tokio::spawn(async move {
        let mut buffer = [0; 16];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer).await {
            let port = address.port().to_be_bytes();
            drop(socket.send_to(&port, peer).await);
        }
    });
    address
}

/// Which endpoint answers.
async fn asked(client: &UdpSocket) -> u16 {
    client.send(b"who").await.expect("it leaves");
    let mut port = [0; 2];
    let answer = timeout(LONG, client.recv(&mut port)).await;
    assert_eq!(answer.expect("in time").expect("an answer"), 2);
    u16::from_be_bytes(port)
}

/// No reload says so: the upstream is the same.
#[tokio::test]
async fn datagrams_leave_an_endpoint_that_was_replaced() {
    let (one, two) = (tells_its_port().await, tells_its_port().await);
    let sockets = Sockets::open(Transport::Udp, "127.0.0.1:0", &Listening::default(), 1);
    let sockets = Arc::new(sockets.expect("bind"));
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &[one]);
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    client.connect(sockets.local).await.expect("an address");
    assert_eq!(asked(&client).await, one.port());
    let other = ResolvedEndpoint::at(Address::Ip(two));
    rig.handle.load().upstreams["u"].replace_endpoints(vec![other]);
    assert_eq!(asked(&client).await, two.port());
    drop(rig.end());
}
