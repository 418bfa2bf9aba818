//! Pipes between real sockets, with a runtime, which the room of the wire does without.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::net::{LARGE_BUFFER, Pipe, Stream};

#[tokio::test]
async fn bytes_pass_in_their_order() {
    let (mut writer, source) = UnixStream::pair().expect("a pair");
    let (mut reader, sink) = UnixStream::pair().expect("a pair");
    sink.set_nonblocking(true).expect("a socket");
    let sink = Stream::Unix(tokio::net::UnixStream::from_std(sink).expect("a runtime"));
    let mut pipe = Pipe::take().expect("a pipe");
    for text in ["first", "second"] {
        writer.write_all(text.as_bytes()).expect("open");
        let drawn = pipe
            .draw(source.as_fd(), LARGE_BUFFER)
            .expect("bytes are there");
        assert_eq!((drawn, pipe.held()), (text.len(), text.len()));
        let moved = poll_fn(|cx| pipe.poll_empty(cx, &sink)).await;
        assert_eq!((moved.expect("open"), pipe.held()), (text.len(), 0));
        let mut bytes = vec![0; text.len()];
        reader.read_exact(&mut bytes).expect("bytes came");
        assert_eq!(bytes, text.as_bytes());
    }
    drop(writer);
    assert_eq!(pipe.draw(source.as_fd(), LARGE_BUFFER).expect("the end"), 0);
}
