//! Which sockets of datagrams a worker reads.

use tokio::net::UdpSocket;
use tokio::task::{spawn_local, yield_now};

use super::*;
use crate::net::Listening;
use crate::protocol::local::Local;
use crate::worker::relaying::Relaying;

/// A narrow address, and sockets at every address beside it.
fn narrow_and_wide() -> (Arc<Sockets>, Arc<Sockets>) {
    let options = Listening::default();
    let narrow = Sockets::open(Transport::Udp, "127.0.0.1:0", &options, 1).expect("bind");
    let every = format!("0.0.0.0:{}", narrow.local.port());
    let wide = Sockets::open_shared(Transport::Udp, &every, &options, 1).expect("bind");
    (Arc::new(narrow), Arc::new(wide))
}

/// An endpoint that sends back what it gets.
async fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("address");
    spawn_local(async move {
        let mut buffer = [0; 16];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            drop(socket.send_to(&buffer[..length], peer).await);
        }
    });
    address
}

async fn is_answered(listener: SocketAddr) -> bool {
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    client.send_to(b"x", listener).await.expect("it leaves");
    let answer = timeout(LONG, client.recv(&mut [0; 16])).await;
    answer.is_ok_and(|received| received.is_ok())
}

/// Ends every loop, as a panic would.
async fn end_loops(relaying: &mut Relaying) {
    relaying.end(drain::Direction::Inbound);
    while !relaying.lacks_some() {
        yield_now().await;
    }
}

#[tokio::test]
async fn sockets_of_before_are_read_as_long_as_anybody_has_them() {
    let work = async {
        let endpoint = udp_echo().await;
        let rig = Rig::start(1, &[], &[endpoint]);
        let Shared {
            handle,
            sink,
            drain,
            events,
            ..
        } = rig.shared.clone();
        let local = Local::new(handle.cache(), sink.access_log(), drain, 1);
        let mut relaying = Relaying::new(0, &local, events);
        let (narrow, wide) = narrow_and_wide();
        let address = narrow.local;
        let listeners = [("l", Arc::clone(&wide), 10)];
        let mut next = snapshot(&rig.world, Some(&handle.load()), &listeners, &[endpoint]);
        let weak = Arc::downgrade(&narrow);
        next.lingering = vec![Arc::downgrade(&wide), weak.clone()];
        // Another worker has sessions there.
        relaying.follow(&next);
        drop(narrow);
        assert!(weak.upgrade().is_some(), "its loop has them");
        end_loops(&mut relaying).await;
        let other = weak.upgrade();
        relaying.follow(&next);
        drop(other);
        assert!(weak.upgrade().is_some(), "its loop has them again");
        // Nobody else had them when this one let go.
        end_loops(&mut relaying).await;
        relaying.follow(&next);
        assert!(weak.upgrade().is_none(), "they are open, and nobody reads");
        assert!(is_answered(address).await, "by the wide ones");
        drop(rig.end());
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn what_comes_by_sockets_of_before_is_for_who_covers_them() {
    let work = async {
        let endpoint = udp_echo().await;
        let rig = Rig::start(1, &[], &[endpoint]);
        let (narrow, wide) = narrow_and_wide();
        let listeners = [("l", wide, 10)];
        let before = rig.handle.load();
        let mut next = snapshot(&rig.world, Some(&before), &listeners, &[endpoint]);
        next.lingering = vec![Arc::downgrade(&narrow)];
        drop(rig.handle.replace(next));
        assert!(is_answered(narrow.local).await);
        drop(rig.end());
    };
    LocalSet::new().run_until(work).await;
}
