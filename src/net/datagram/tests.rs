use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use super::control::{Control, Said};
use super::name::{NOBODY, decode, encode};
use super::*;
use crate::config::{DscpEntry, UpstreamSocket};
use crate::net::{Listening, Sockets, Transport};

fn bound(address: &str) -> (UdpSocket, u16) {
    let sockets = Sockets::open(Transport::Udp, address, &Listening::default(), 1).unwrap();
    let socket = sockets.take_datagrams(0).unwrap().unwrap();
    (socket, sockets.local.port())
}

/// Waits until something is there, and takes it.
fn received(socket: &UdpSocket, batch: &mut Batch) -> usize {
    let mut ready = [rustix::event::PollFd::new(
        socket,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut ready, None).unwrap();
    batch.receive(socket.as_fd(), Batch::SLOTS).unwrap()
}

fn answer<'a>(batch: &'a Batch, datagram: &Datagram) -> Outgoing<'a> {
    Outgoing {
        bytes: batch.bytes(datagram),
        segment: datagram.segment,
        to: datagram.peer,
        from: datagram.source,
    }
}

/// Sends all of them; how many datagrams of each left, or why not.
fn send_all(socket: &UdpSocket, messages: &[Outgoing<'_>]) -> Vec<Result<u64, Option<i32>>> {
    let mut told = Vec::new();
    let message = |at: usize| messages[at];
    send(socket.as_fd(), messages.len(), message, |at, outcome| {
        assert_eq!(at, told.len(), "in their order");
        let error = outcome.error.map(|error| error.raw_os_error());
        told.push(error.map_or(Ok(outcome.sent.0), Err));
        true
    });
    told
}

#[test]
fn addresses_are_read_as_they_are_written() {
    for address in ["1.2.3.4:5", "[::1]:65535", "[fe80::1%7]:53"] {
        let address: SocketAddr = address.parse().unwrap();
        let mut name = NOBODY;
        let length = encode(address, &mut name);
        assert_eq!(decode(&name, length), Some(address));
        assert_eq!(decode(&name, length - 1), None, "it was cut");
    }
    assert_eq!(decode(&NOBODY, 28), None);
}

#[test]
fn a_source_is_read_as_it_is_written() {
    for (address, interface) in [("10.1.2.3", 0), ("2001:db8::1", 0), ("fe80::1", 7)] {
        let address: IpAddr = address.parse().unwrap();
        let source = Some(Source { address, interface });
        for ipv6 in [false, true] {
            let mut control = Control::EMPTY;
            let said = Said { source, segment: 0 };
            let length = control.write(said, ipv6);
            assert_eq!(control.read(length), said, "{ipv6}");
            let cut = control.read(length - 8);
            assert_eq!(cut, Said::default(), "it was cut");
        }
    }
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    for (bind, asked) in [
        ("0.0.0.0:0", Ipv4Addr::new(127, 0, 0, 7).into()),
        (":0", Ipv4Addr::new(127, 0, 0, 7).into()),
        (":0", IpAddr::from(Ipv6Addr::LOCALHOST)),
    ] {
        let (socket, port) = bound(bind);
        let any: IpAddr = match asked {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let client = UdpSocket::bind((any, 0)).unwrap();
        client.send_to(b"hello", (asked, port)).unwrap();
        let mut batch = Batch::default();
        assert_eq!(received(&socket, &mut batch), 1);
        let datagram = batch.datagrams()[0];
        assert_eq!(datagram.source.unwrap().address, asked);
        send_all(&socket, &[answer(&batch, &datagram)]);
        let mut buffer = [0; 16];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from.ip()),
            (&b"hello"[..], asked),
            "{bind}"
        );
    }
}

#[test]
fn several_come_and_go_together() {
    let (socket, port) = bound("127.0.0.1:0");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.1", port)).unwrap();
    let sizes: Vec<usize> = (0..40).map(|at| at * 100).collect();
    for size in &sizes {
        client.send(&vec![7; *size]).unwrap();
    }
    let (mut batch, mut seen) = (Batch::default(), Vec::new());
    while seen.len() < sizes.len() {
        let came = received(&socket, &mut batch);
        assert!(came <= Batch::SLOTS);
        let all: Vec<_> = batch
            .datagrams()
            .iter()
            .map(|one| answer(&batch, one))
            .collect();
        assert_eq!(send_all(&socket, &all), vec![Ok(1); came]);
        seen.extend(batch.datagrams().iter().map(Datagram::length));
        batch.clear();
    }
    assert_eq!(seen, sizes);
    let mut buffer = vec![0; 8_192];
    for size in sizes {
        assert_eq!(client.recv(&mut buffer).unwrap(), size);
    }
}

#[test]
fn one_comes_whole_however_long_it_is() {
    let (socket, port) = bound("127.0.0.1:0");
    let near = connected(([127, 0, 0, 1], port).into(), None).unwrap();
    let address = near.local_addr().unwrap();
    let mut batch = Batch::default();
    let receive = |batch: &mut Batch| batch.receive_one(near.as_fd());
    let none = receive(&mut batch).unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    let longest = vec![7; 65_507];
    for sent in [&b""[..], b"x", &longest] {
        socket.send_to(sent, address).unwrap();
        assert_eq!(receive(&mut batch).unwrap(), 1);
        let came = *batch.datagrams().last().unwrap();
        assert_eq!(batch.bytes(&came), sent);
        assert_eq!((came.count(), came.is_truncated), (1, false));
    }
    while batch.room() > 0 {
        socket.send_to(b"x", address).unwrap();
        receive(&mut batch).unwrap();
    }
    socket.send_to(b"left", address).unwrap();
    assert_eq!(receive(&mut batch).unwrap(), 0, "no room");
    batch.clear();
    receive(&mut batch).unwrap();
    assert_eq!(batch.bytes(&batch.datagrams()[0]), b"left");
}

#[test]
fn what_was_sent_as_one_comes_and_goes_as_one() {
    let (socket, port) = bound("127.0.0.1:0");
    let client = connected(([127, 0, 0, 1], port).into(), None).unwrap();
    client.set_nonblocking(false).unwrap();
    let bytes: Vec<u8> = (0..250_u8).collect();
    let one = Outgoing {
        bytes: &bytes,
        segment: 100,
        to: None,
        from: None,
    };
    assert_eq!(send_all(&client, &[one]), [Ok(3)]);
    let mut batch = Batch::default();
    let mut count = 0;
    // A kernel without GRO brings them one by one.
    while count < 3 {
        received(&socket, &mut batch);
        count = batch.datagrams().iter().map(Datagram::count).sum();
    }
    assert_eq!(count, 3);
    let all: Vec<_> = batch
        .datagrams()
        .iter()
        .map(|one| answer(&batch, one))
        .collect();
    send_all(&socket, &all);
    let mut echoed = Vec::new();
    let mut answers = Batch::default();
    while echoed.len() < bytes.len() {
        received(&client, &mut answers);
        for datagram in answers.datagrams() {
            echoed.extend_from_slice(answers.bytes(datagram));
        }
        answers.clear();
    }
    assert_eq!(echoed, bytes);
}

#[test]
fn an_error_is_told_of_the_one_that_had_it() {
    let (socket, port) = bound("127.0.0.1:0");
    let (fine, too_long) = (vec![1; 10], vec![1; 65_535]);
    let to = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let message = |bytes| Outgoing {
        bytes,
        segment: 0,
        to,
        from: None,
    };
    let messages = [message(&fine), message(&too_long), message(&fine)];
    let too_long = Err(Some(libc::EMSGSIZE));
    assert_eq!(send_all(&socket, &messages), [Ok(1), too_long, Ok(1)]);
}

#[test]
fn nobody_there_is_an_error_of_a_connected_socket() {
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let socket = connected(port, None).unwrap();
    socket.send(b"hello").unwrap();
    let mut ready = [rustix::event::PollFd::new(
        &socket,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut ready, None).unwrap();
    let error = Batch::default()
        .receive_few(socket.as_fd(), Batch::FEW)
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn what_was_heard_is_taken_and_not_announced_again() {
    for own in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        let port = UdpSocket::bind((own, 0)).unwrap().local_addr().unwrap();
        let socket = connected(port, None).unwrap();
        assert_eq!(heard(socket.as_fd()).unwrap(), Heard::Nothing);
        socket.send(b"hello").unwrap();
        let flags = rustix::event::PollFlags::IN;
        let mut ready = [rustix::event::PollFd::new(&socket, flags)];
        rustix::event::poll(&mut ready, None).unwrap();
        let error = heard(socket.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{own}");
        let mut ready = [rustix::event::PollFd::new(&socket, flags)];
        let at_once = rustix::event::Timespec::default();
        assert_eq!(rustix::event::poll(&mut ready, Some(&at_once)).unwrap(), 0);
        let error = Batch::default().receive_few(socket.as_fd(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_connected_socket_becomes_one_with_other_options() {
    let endpoint = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = connected(endpoint.local_addr().unwrap(), None).unwrap();
    let class = || SockRef::from(&socket).tos_v4().unwrap();
    assert_eq!(class(), 0);
    let written = UpstreamSocket {
        dscp: Some(DscpEntry::Number(46)),
        ..UpstreamSocket::default()
    };
    change_options(&socket, Connecting::new(&written).as_ref()).unwrap();
    assert_eq!(class(), 46 << 2);
    change_options(&socket, None).unwrap();
    assert_eq!(class(), 0);
}
